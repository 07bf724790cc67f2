"""What an exported model says about itself, for the gate, the registry and a later comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import __version__, storage
from ganlib.evaluation import Evaluation
from ganlib.selection.contenders import Challenger
from ganlib.tracking import IDENTITY, flatten
from ganlib.trained import without_places

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from ganlib.trained import TrainedModel

FACTS, SCORES, PARITY = "model.json", "scores.json", "parity.json"
JUDGED_BY = (FACTS, SCORES, PARITY)
IDENTIFYING = ("*.json", "*.py", "requirements.txt", "python_env.yaml")
VARYING = (PARITY, IDENTITY)  # what was measured, and what tracking keeps there
NAMES = ("run",)  # facts that are no property of the model: by default, the name of a run depends on thresholds, too
FORMATS = {"saved_model": "saved_model/saved_model.pb", "keras": "*.keras", "onnx": "*.onnx"}


def save_facts(
    model: TrainedModel,
    evaluation: Evaluation,
    networks: Mapping[str, keras.Model],
    folder: Path,
) -> None:
    """Writes `model.json` and `scores.json` into the folder of an exported model, after its other files.

    Args:
        model: The trained model.
        evaluation: Its scores.
        networks: Its networks by name.
        folder: The folder.
    """
    names = ["dataset", "dataset_sha256", "classes", "image_shape", "networks", "precision", "tensorflow"]
    names += ["best_step", "last_step", "stopped", "rollbacks"]
    facts = {
        "run": model.facts["config"]["training"]["run_name"],
        "generator": dict(evaluation.generator or {}),
        "task": without_places(flatten({"task": model.task.to_parameter()})),
        **{name: model.facts.get(name) for name in names},
        "events": [{key: event[key] for key in ("event", "step", "reaction")} for event in model.events],
        "weights_sha256": _hash_weights(networks),
        "formats": [name for name, pattern in FORMATS.items() if next(folder.glob(pattern), None)],
        "gan_pipelines": __version__,
    }
    storage.write_json(folder / FACTS, facts)
    storage.publish(evaluation.folder / SCORES, folder / SCORES)


def _hash_weights(networks: Mapping[str, keras.Model]) -> str:
    """Returns a hash of all weights. The bytes of a Keras file would not do: there are times in them."""
    digest = hashlib.sha256()
    for name, network in networks.items():
        digest.update(name.encode())
        for weight in network.weights:
            values = np.ascontiguousarray(weight.numpy())
            digest.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def read_facts(folder: Path) -> dict[str, Any]:
    """Returns what `save_facts` wrote.

    Raises:
        ValueError: The folder holds no exported model, or one of an older version.
    """
    if not (folder / FACTS).is_file():
        raise ValueError(f"expected an exported model of this version; export it again. Received: {str(folder)!r}")
    return dict(storage.read_json(folder / FACTS))


def read_challenger(folder: Path) -> Challenger:
    """Returns what the gate is told of an exported model.

    Raises:
        ValueError: The folder holds no exported model, or one of an older version.
    """
    facts, parity = read_facts(folder), storage.read_json(folder / PARITY)
    generator = facts["generator"]
    return Challenger(
        model={"run": facts["run"], "step": generator["step"], "sha256": generator["sha256"]},
        evaluation=Evaluation.open(folder),
        best_step=int(facts["best_step"]),
        events=facts["events"],
        parity=parity,
        formats=facts["formats"],
    )


def digest(folder: Path) -> str:
    """Returns what identifies an exported model: its weights, formats and scores, and the software that serves it.

    A second export of the same has it too, also under another name of the run, although the bytes of other files
    differ: a Keras file, a SavedModel, an ONNX file and `MLmodel` hold times, or names that are drawn. Differences that
    were measured may vary a little.
    """
    names = (path.relative_to(folder).as_posix() for pattern in IDENTIFYING for path in folder.rglob(pattern))
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names if name not in VARYING}
    facts = {name: value for name, value in read_facts(folder).items() if name not in NAMES}
    return hashlib.sha256(storage.canonical_json({**files, FACTS: facts}).encode()).hexdigest()
