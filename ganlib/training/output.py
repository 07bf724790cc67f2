"""Writes the folder that training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, streams, tracking
from ganlib.runtime import true_float32
from ganlib.tasks import Sampler
from ganlib.trained import SAMPLES_FOLDER, TrainedModel, network_file, save_witness, witness_file

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.tasks import Task
    from ganlib.training.state import TrainState

WITNESSES = 16


def write_model(
    output: Path, state: TrainState, task: Task, *, dataset: PreparedDataset, home: Path, facts: Mapping[str, Any]
) -> TrainedModel:
    """Writes the folder of a trained model; it appears whole or not at all.

    Args:
        output: Folder to create.
        state: Where training ended.
        task: Its task.
        dataset: The images that it was trained on.
        home: Folder with the run's history and pictures.
        facts: What else to record.
    """
    shipped = {"best": task.shipped(state.best_averaged()), "last": task.shipped(state.trained.averaged)}
    others = [name for name in shipped["last"] if name not in task.scored]
    with storage.atomic_folder(output) as folder:
        for which, networks in shipped.items():
            for name, network in networks.items():
                sampler = Sampler(
                    task,
                    network,
                    shares=facts["class_shares"],
                    image_shape=dataset.image_shape,
                    held_out=dataset,
                    name=name,
                )
                count = min(WITNESSES, sampler.batch_size, sampler.available or WITNESSES)
                inputs = sampler.inputs(count, seed=streams.key("witness"))
                file = network_file(folder, which, name)
                file.parent.mkdir(exist_ok=True)
                network.save(file)
                with true_float32():
                    images = network(inputs, training=False)
                save_witness(witness_file(folder, which, name), inputs, np.asarray(images))
        for name in (tracking.HISTORY, tracking.JOURNAL, tracking.IDENTITY, SAMPLES_FOLDER):
            if (home / name).exists():
                storage.publish(home / name, folder / name)
        best, last_step = state.best, state.clock.step
        best_step = last_step if best.step is None else best.step
        steps = {"best_step": best_step, "last_step": last_step, "best_score": best.score}
        ending = {"stopped": state.ending and state.ending.text, "rollbacks": state.health.rollbacks}
        parameters = int(shipped["last"][task.scored[0]].count_params())
        cost = {"seconds": round(state.clock.seconds, 1), "parameters": parameters}
        names = {"networks": [*task.scored, *others]}
        storage.write_json(folder / "model.json", {**facts, **names, **steps, **ending, **cost})
    return TrainedModel.open(output)
