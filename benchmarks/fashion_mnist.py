"""Our `fashion_mnist` preset against the tutorial's loop: equal images seen, equal extractor, equal reference.

    python benchmarks/fashion_mnist.py --data FOLDER [--epochs 2] [--seeds 1] [--only ours] [--set F=V]

FOLDER holds the four files of Fashion-MNIST. Prints one line a candidate and writes a picture of each.
"""

import argparse
import shutil
import time
from pathlib import Path

from ganlib import pixels  # before anything that imports TensorFlow, whose settings it makes
from ganlib.data import prepare
from ganlib.data.records import PreparedDataset
from ganlib.evaluation import Reference, measure_reference
from ganlib.training import train
from pipelines.settings import digest, resolve

import numpy as np  # isort: skip
from tutorial import Tutorial  # isort: skip

TRAIN_IMAGES = 60_000
OURS = ("task.", "model.", "objective.", "training.")
GIVEN = ("training.steps", "training.seed")  # by the other options


def main() -> None:
    """Trains and scores both candidates for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the four idx files")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-fashion"), help="where results are kept")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the 60,000 images")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--only", choices=("tutorial", "ours"), help="one of the two candidates")
    parser.add_argument("--set", action="append", default=[], help="setting of ours, such as training.precision=auto")
    options = parser.parse_args()
    refused = [word for word in options.set if not word.startswith(OURS) or word.startswith(GIVEN)]
    if refused:
        parser.error(f"expected a setting of {', '.join(OURS)}, and none of {', '.join(GIVEN)}. Received: {refused}")
    images = options.epochs * TRAIN_IMAGES
    given = [f"data.source.path={options.data}"]
    plain = resolve(chosen=["fashion_mnist"], file=None, assignments=given)
    config = resolve(
        chosen=["fashion_mnist"], file=None, assignments=[*given, "training.precision=float32", *options.set]
    )
    dataset, reference = _yardstick(plain, options.work / f"yardstick-{digest(plain)}")
    count = reference.sample_count(None)
    print(f"{reference.measure}, {count} samples, {images} images seen; floor {reference.floor(count):.4f}", flush=True)
    for seed in range(options.seeds):
        if options.only != "ours":
            began = time.perf_counter()
            tutorial = Tutorial(dataset.load("train")[0], seed=seed)
            tutorial.train(images // tutorial.batch)
            theirs = tutorial.samples(count, seed=config.evaluation.seed)
            _tell("tutorial", seed, reference.distance([theirs]), time.perf_counter() - began)
            _picture(theirs, options.work / f"tutorial-{seed}.png")
        if options.only != "tutorial":
            began = time.perf_counter()
            steps = images // config.training.batch_size
            training = config.training.model_copy(update={"seed": seed, "steps": steps})
            output = options.work / f"ours-{options.epochs}-{seed}"
            shutil.rmtree(f"{output}.home", ignore_errors=True)  # begun anew, not resumed: the time is measured
            model = train(
                dataset,
                reference,
                task=config.task,
                model=config.model,
                objective=config.objective,
                config=training,
                output=output,
            )
            seconds = time.perf_counter() - began
            for kept in ("best", "last"):
                ours = model.sampler(kept).images(count, seed=config.evaluation.seed)
                _tell(f"ours, {kept} (step {model.step(kept)})", seed, reference.distance([ours]), seconds)
            _picture(ours, options.work / f"ours-{seed}.png")


def _yardstick(config, work: Path) -> tuple[PreparedDataset, Reference]:
    if not (work / "reference").exists():
        measure_reference(prepare(config.data, work / "dataset"), config.evaluation, work / "reference")
    return PreparedDataset.open(work / "dataset"), Reference.open(work / "reference")


def _picture(images: np.ndarray, path: Path) -> None:
    pixels.save_picture(pixels.grid(images[:100], columns=20, scale=2), path)


def _tell(name: str, seed: int, distance: float, seconds: float) -> None:
    print(f"RESULT seed {seed}  {name:<24} distance {distance:9.4f}  {seconds:6.0f} s", flush=True)


if __name__ == "__main__":
    main()
