"""What generated images are worth in the place of real ones, and whether images learned by heart are noticed.

    python benchmarks/stand_in.py --data FOLDER [--steps 1874] [--few 100] [--few-steps 3000] [--table]

FOLDER holds the four idx files of Fashion-MNIST. Two generators are trained: one of all 60,000 images, with labels, for
two epochs; and one of a few images, each seen very often, the last generator of which is judged. What is there already
in the folder of `--work` is not made again.
"""

import argparse
from pathlib import Path

from ganlib.data import PreparedDataset, prepare
from ganlib.evaluation import Evaluation, Reference, evaluate, measure_reference
from ganlib.training import TrainedModel, train
from pipelines.settings import resolve

SHOWN = ("fd", "fd_infinity", "precision", "recall", "density", "coverage", "memorised", "cas", "cas_with_real")


def main() -> None:
    """Trains and scores whatever is missing, then prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the idx files")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-stand-in"), help="where results are kept")
    parser.add_argument("--steps", type=int, default=1874, help="training steps on all images")
    parser.add_argument("--few", type=int, default=100, help="images of the generator that learns by heart")
    parser.add_argument("--few-steps", type=int, default=3000, help="its training steps")
    parser.add_argument("--table", action="store_true", help="print the scores of what is there, and stop")
    options = parser.parse_args()
    runs = {
        "all": ["conditional", "evaluation.classification_accuracy=true", f"training.steps={options.steps}"],
        f"few-{options.few}": [
            "dcgan",
            f"data.train_images={options.few}",
            f"training.steps={options.few_steps}",
            "evaluation.generator=last",
            "evaluation.samples=2000",
        ],
    }
    for name, (preset, *settings) in {} if options.table else runs.items():
        play(preset, settings, options.data, options.work / name)
    for name in runs:
        if (options.work / name / "scores").exists():
            print(table(name, Evaluation.open(options.work / name / "scores")))


def play(preset: str, settings: list[str], data: Path, folder: Path) -> None:
    """Prepares, measures, trains and scores, unless that was done."""
    assignments = [f"data.source.path={data}", *settings]
    config = resolve(chosen=["fashion_mnist", preset], file=None, assignments=assignments)
    dataset, reference, model, scores = (folder / name for name in ("dataset", "reference", "model", "scores"))
    if not dataset.exists():
        prepare(config.data, dataset)
    images = PreparedDataset.open(dataset)
    if not reference.exists():
        measure_reference(images, config.evaluation, reference)
    yardstick = Reference.open(reference)
    if not model.exists():
        parts = {"task": config.task, "model": config.model, "objective": config.objective}
        train(images, yardstick, **parts, config=config.training, output=model)
    if not scores.exists():
        evaluate(TrainedModel.open(model), images, yardstick, config.evaluation, scores)


def table(name: str, evaluation: Evaluation) -> str:
    """Returns the scores that tell of worth and of copies."""
    lines = [name, "", "| score | value | real images |", "|---|---|---|"]
    lines += [
        f"| {score.name} | {score.text} | {score.floor_text} |"
        for score in evaluation.scores
        if score.name.startswith(tuple(f"{word}_" for word in SHOWN))
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
