"""Compares the formats of exported models: time per image, difference from training, size of files and of runtimes.

    python benchmarks/formats.py [--rounds 30] [--threads 1] [--root FOLDER]

It trains the digits' model (16x16), and, for a few steps, since time does not depend on what was learned, a conditional
DCGAN (28x28) and a ResNet translator (64x64). Each format runs in a process of its own, with the same number
of threads, and answers in turn with the others; the first calls are not counted. Milliseconds of an image, medians, by
the clock and of the processor; where other programs use the machine, the latter are the steadier measure. The ratio to
the SavedModel is the median of those within a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ganlib import storage
from ganlib.data import prepare
from ganlib.evaluation import measure_reference
from ganlib.export.network import save_network, save_signatures, signatures
from ganlib.export.onnx import onnx_export
from ganlib.export.parity import Shipped, fresh_process
from ganlib.inference import Inputs
from ganlib.trained import TrainedModel, witness_file
from ganlib.training import train
from pipelines.settings import resolve

FEW_STEPS = ["training.steps=20", "training.score_every=20", "training.sample_every=20", "training.checkpoint_every=20"]
FEW_STEPS += ["training.score_samples=50"]
MODELS = {
    "digits, 16 px": (["digits"], []),
    "conditional DCGAN, 28 px": (["conditional"], [*FEW_STEPS, "data.size=28"]),
    "ResNet translator, 64 px": (
        ["digits-translate"],
        [
            *FEW_STEPS,
            "data.size=64",
            "training.batch_size=2",
            "model.width=64",
            "model.blocks=6",
        ],
    ),
}
"""Presets and settings."""
BATCHES = (1, 16)
TOLERANCE = 1e-4  # the default of `export.tolerance`
WARMUP = 3  # rounds that are not counted
Seconds = tuple[float, float]  # by the clock, and of the processor

# Runs a format: for each line with a batch, the seconds of one call.
SERVER = """
import json, os, sys, time
form, folder, network, threads = sys.argv[1:]
import numpy as np
if form == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(f"{folder}/{network}.onnx", options, providers=["CPUExecutionProvider"])
    call = lambda inputs: session.run(["images"], inputs)[0]
else:
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if form == "SavedModel":
        model = tf.saved_model.load(f"{folder}/saved_model")
        served = model.signatures["serving_default"]
        call = lambda inputs: served(**{name: tf.constant(values) for name, values in inputs.items()})["images"].numpy()
    else:
        import keras
        model = keras.models.load_model(f"{folder}/{network}.keras", compile=False)
        call = model.predict_on_batch
with np.load(sys.stdin.readline().strip()) as file:
    witness = {name.removeprefix("input/"): file[name] for name in file.files if name != "output"}
for line in sys.stdin:
    inputs = {name: np.resize(values, (int(line), *values.shape[1:])) for name, values in witness.items()}
    clock, processor = time.perf_counter(), time.process_time()
    call(inputs)
    print(json.dumps([time.perf_counter() - clock, time.process_time() - processor]), flush=True)
"""


class Format:
    """A process that runs one format of one model.

    Args:
        name: SavedModel, Keras or onnxruntime.
        folder: The exported model.
        network: Name of its first network.
        witness: Inputs.
        threads: Number of threads.
    """

    def __init__(self, name: str, folder: Path, network: str, witness: Path, *, threads: int) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", SERVER, name, str(folder), network, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._ask(str(witness))

    def seconds(self, batch: int) -> Seconds:
        """Returns the seconds of one call."""
        self._ask(str(batch))
        clock, processor = json.loads(self._process.stdout.readline())
        return clock, processor

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _ask(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def exported(name: str, root: Path) -> tuple[Path, str, Path, dict[str, Any]]:
    """Returns the folder of a model's files, its first network, inputs, and differences; trains it first if needed."""
    presets, settings = MODELS[name]
    config = resolve(chosen=presets, assignments=settings)
    if not (root / "trained").exists():
        dataset = prepare(config.data, root / "dataset")
        reference = measure_reference(dataset, config.evaluation, root / "reference")
        train(
            dataset,
            reference,
            task=config.task,
            architecture=config.model,
            objective=config.objective,
            config=config.training,
            output=root / "trained",
        )
    model = TrainedModel.open(root / "trained")
    witness = witness_file(model.folder, "best", model.networks[0])
    if not (root / "model" / "parity.json").exists():
        write_formats(model, root / "model")
    return root / "model", model.networks[0], witness, storage.read_json(root / "model" / "parity.json")


def write_formats(model: TrainedModel, folder: Path) -> None:
    """Writes and checks the files of an export, which needs scores; the time does not depend on these."""
    networks = {name: model.network("best", name) for name in model.networks}
    classes = len(model.classes) if model.task.takes_label else 0
    functions = signatures(networks, model.task, image_shape=model.image_shape, classes=classes)
    folder.mkdir()
    with fresh_process() as process, onnx_export(True) as onnx:  # noqa: FBT003  # as in `export.onnx=true`
        for name, network in networks.items():
            save_network(network, folder / f"{name}.keras", classes=classes)
        save_signatures(networks, functions, folder / "saved_model")
        shipped = [
            Shipped(folder / f"{name}.keras", signature, witness_file(model.folder, "best", name))
            for name, signature in zip(networks, functions, strict=False)
        ]
        parity = process.check(folder, shipped, functions, tolerance=TOLERANCE)
        inputs = Inputs(classes=model.classes if classes else ())
        parity |= onnx.write(networks, shipped, folder, inputs=inputs, tolerance=TOLERANCE).facts
    storage.write_json(folder / "parity.json", parity)


def size(path: Path) -> float:
    """Returns the megabytes of a file or a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files) / 1e6


def installed(name: str, *, seen: set[str] | None = None) -> dict[str, float]:
    """Returns the megabytes of a package and of each that it needs, by name."""
    import re

    seen = set() if seen is None else seen
    found = metadata.distribution(name)
    key = found.metadata["Name"].lower().replace("_", "-")
    if key in seen:
        return {}
    seen.add(key)
    own = sum(Path(one.locate()).stat().st_size for one in found.files or [] if Path(one.locate()).is_file()) / 1e6
    sizes = {key: own}
    for need in found.requires or []:
        if "extra ==" not in need:
            try:
                sizes |= installed(re.split(r"[^\w.-]", need)[0], seen=seen)
            except metadata.PackageNotFoundError:  # for another system
                continue
    return sizes


def measure(name: str, root: Path, *, rounds: int, threads: int) -> list[str]:
    """Returns the rows of one model."""
    folder, network, witness, parity = exported(name, root)
    forms = {
        "SavedModel": (parity["saved_model"], folder / "saved_model"),
        "Keras": (parity["keras"], folder / f"{network}.keras"),
        "onnxruntime": (parity["onnx"], folder / f"{network}.onnx"),
    }
    running = {form: Format(form, folder, network, witness, threads=threads) for form in forms}
    taken: dict[tuple[str, int], list[Seconds]] = {(form, batch): [] for form in forms for batch in BATCHES}
    for number in range(WARMUP + rounds):
        for batch in BATCHES:
            for form, one in running.items():
                seconds = one.seconds(batch)
                if number >= WARMUP:
                    taken[form, batch].append(seconds)
    for one in running.values():
        one.close()
    rows = []
    for form, (difference, file) in forms.items():
        cells = [cell(taken[form, batch], taken["SavedModel", batch], batch) for batch in BATCHES]
        rows.append(f"| {name} | {form} | {' | '.join(cells)} | {difference:.1e} | {size(file):.2f} MB |")
    return rows


def cell(taken: list[Seconds], first: list[Seconds], batch: int) -> str:
    """Returns milliseconds of an image by the clock and of the processor, with the ratio of the latter to another's."""
    clock, processor = (1e3 * statistics.median(times) / batch for times in zip(*taken, strict=True))
    ratio = statistics.median(own[1] / other[1] for own, other in zip(taken, first, strict=True))
    return f"{clock:.2f} | {processor:.2f} ({ratio:.2f})"


def main() -> None:
    """Prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="calls of each format and batch")
    parser.add_argument("--threads", type=int, default=1, help="threads of each format")
    parser.add_argument(
        "--root", type=Path, help="folder for models, which are used again; by default one that is deleted"
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, name in enumerate(MODELS):
            root = (options.root or Path(scratch)) / str(number)
            root.mkdir(parents=True, exist_ok=True)
            rows += measure(name, root, rounds=options.rounds, threads=options.threads)
    print(
        "| model | format | 1 image: clock | processor (ratio) | of 16: clock | processor (ratio) | difference | file |"
    )
    print("|---|---|---|---|---|---|---|---|", *rows, sep="\n")
    print("\n| runtime | with what it needs | the largest |\n|---|---|---|")
    for package in ("tensorflow-cpu", "onnxruntime", "tf2onnx"):
        sizes = installed(package)
        largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
        names = ", ".join(f"{key} {value:.0f}" for key, value in largest)
        print(f"| {package} {metadata.version(package)} | {sum(sizes.values()):.0f} MB | {names} |")


if __name__ == "__main__":
    main()
