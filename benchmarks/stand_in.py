"""Tests how useful generated images are instead of real ones, and whether the scores detect memorised images.

    python benchmarks/stand_in.py --data FOLDER [--steps 1874] [--few 100] [--few-steps 3000] [--table]

FOLDER has the four idx files of Fashion-MNIST. Two generators are trained: one on all 60,000 images, with labels, for
two epochs; and one on a few images for many epochs, of which the last generator is scored. A third generator returns
copies of 5,000 training images. Existing results in the folder of `--work` are not repeated.
"""

import argparse
import shutil
from pathlib import Path

from ganlib import pixels  # before TensorFlow is imported, because it sets variables for it
from ganlib.data import PreparedDataset, prepare
from ganlib.evaluation import Evaluation, EvaluationConfig, Reference, evaluate, measure_reference
from ganlib.training import TrainedModel, train
from pipelines.settings import resolve

import keras  # isort: skip
import numpy as np  # isort: skip

COPIES = 5000
SHARPNESS = 1000.0  # makes the softmax a hard choice
SHOWN = ("fd", "fd_infinity", "precision", "recall", "density", "coverage", "memorised", "cas", "cas_with_real")


def main() -> None:
    """Makes the missing results and prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the idx files")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-stand-in"), help="folder for results")
    parser.add_argument("--steps", type=int, default=1874, help="training steps on all images")
    parser.add_argument("--few", type=int, default=100, help="training images of the second generator")
    parser.add_argument("--few-steps", type=int, default=3000, help="training steps of the second generator")
    parser.add_argument("--table", action="store_true", help="only print existing scores")
    options = parser.parse_args()
    few = f"few-{options.few}"
    runs = {
        "all": ["conditional", "evaluation.classification_accuracy=true", f"training.steps={options.steps}"],
        few: [
            "dcgan",
            f"data.train_images={options.few}",
            f"training.steps={options.few_steps}",
            "evaluation.generator=last",
            "evaluation.samples=2000",
        ],
    }
    for name, (preset, *settings) in {} if options.table else runs.items():
        run(preset, settings, options.data, options.work / name)
    if not options.table:
        score_copies(options.work / "all", options.work / few, options.work / "copies")
    for name in (*runs, "copies"):
        if (options.work / name / "scores").exists():
            print(table(name, Evaluation.open(options.work / name / "scores")))


def run(preset: str, settings: list[str], data: Path, folder: Path) -> None:
    """Runs the missing steps: preparation, reference, training and scores."""
    assignments = [f"data.source.path={data}", *settings]
    config = resolve(chosen=["fashion_mnist", preset], assignments=assignments)
    dataset, reference, model, scores = (folder / name for name in ("dataset", "reference", "model", "scores"))
    if not dataset.exists():
        prepare(config.data, dataset)
    images = PreparedDataset.open(dataset)
    if not reference.exists():
        measure_reference(images, config.evaluation, reference)
    measured = Reference.open(reference)
    if not model.exists():
        parts = {"task": config.task, "architecture": config.model, "objective": config.objective}
        train(images, measured, **parts, config=config.training, output=model)
    if not scores.exists():
        evaluate(TrainedModel.open(model), images, measured, config.evaluation, scores)


def score_copies(data: Path, trained: Path, folder: Path) -> None:
    """Scores a generator whose weights are training images; the latent vector selects one of them."""
    if (folder / "scores").exists():
        return
    images, reference = PreparedDataset.open(data / "dataset"), Reference.open(data / "reference")
    shutil.copytree(trained / "model", folder / "model", dirs_exist_ok=True)
    model = TrainedModel.open(folder / "model")
    table = pixels.to_model_range(images.load("train")[0][:COPIES]).numpy().reshape(COPIES, -1)
    latent = keras.Input(model.network("last").input_shape[1:], name="latent")
    directions = np.random.default_rng(0).normal(size=(latent.shape[1], COPIES))
    choice, pictures = keras.layers.Dense(COPIES, use_bias=False), keras.layers.Dense(table.shape[1], use_bias=False)
    output = keras.layers.Reshape(images.image_shape)(pictures(keras.layers.Softmax()(SHARPNESS * choice(latent))))
    choice.set_weights([directions])
    pictures.set_weights([table])
    keras.Model({"latent": latent}, output).save(model.file("last"))
    evaluate(model, images, reference, EvaluationConfig(generator="last"), folder / "scores")


def table(name: str, evaluation: Evaluation) -> str:
    """Returns a table of the scores on quality and memorisation."""
    lines = [name, "", "| score | value | real images |", "|---|---|---|"]
    lines += [
        f"| {score.name} | {score.text} | {score.floor_text} |"
        for score in evaluation.scores
        if score.name.startswith(tuple(f"{word}_" for word in SHOWN))
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
