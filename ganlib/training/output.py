"""The folder that training leaves behind is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, streams, tracking
from ganlib.runtime import true_float32
from ganlib.trained import SAMPLES_FOLDER, TrainedModel

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from ganlib.tasks import Task
    from ganlib.training.state import TrainState

WITNESSES = 16


def write_model(output: Path, state: TrainState, task: Task, *, home: Path, facts: Mapping[str, Any]) -> TrainedModel:
    """Writes the folder of a trained model; it appears whole or not at all.

    Args:
        output: Folder to create.
        state: Where training ended.
        task: Its task.
        home: Folder with the run's history and pictures.
        facts: What else to record.
    """
    networks = {"best": task.sampler(state.best_averaged()), "last": task.sampler(state.trained.averaged)}
    inputs = task.inputs(WITNESSES, seed=streams.key("witness"), shares=facts["class_shares"])
    with storage.atomic_folder(output) as folder:
        for which, network in networks.items():
            network.save(folder / f"{which}.keras")
            with true_float32():
                images = network(inputs, training=False)
            np.savez(folder / f"{which}_witness.npz", images=images, **inputs)
        for name in (tracking.HISTORY, tracking.JOURNAL, tracking.IDENTITY, SAMPLES_FOLDER):
            if (home / name).exists():
                storage.publish(home / name, folder / name)
        best, last_step = state.best, state.clock.step
        best_step = last_step if best.step is None else best.step
        kept_facts = {"best_step": best_step, "last_step": last_step, "best_score": best.score}
        ending = {"stopped": state.ending and state.ending.text, "rollbacks": state.health.rollbacks}
        storage.write_json(folder / "model.json", {**facts, **kept_facts, **ending})
    return TrainedModel.open(output)
