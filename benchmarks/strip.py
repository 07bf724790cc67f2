"""A strip of pictures from a finished run, as README shows it: generated images above, real test images below.

    python benchmarks/strip.py runs/NAME --output docs/images/NAME.png [--columns 10] [--rows 3] [--seed 1]

The images are drawn from the exported SavedModel, unselected. With labels, each column shows one class. Of a run from
images to images, each column shows one of the first test images: what the network takes, what it makes of it, and
the truth, if it is known; the last row is below the gap.
"""

import argparse
from pathlib import Path

from ganlib import pixels  # before anything that imports TensorFlow, whose settings it makes
from ganlib.data import PreparedDataset
from ganlib.training import TrainedModel

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip

SIDE = 64  # pixels of an image in the strip, at most, if it is enlarged
GAP = 2  # pixels between two images; between generated and real ones three times as many


def main() -> None:
    """Draws the strip and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--columns", type=int, default=10, help="images in a row")
    parser.add_argument("--rows", type=int, default=3, help="rows of generated images")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated images")
    options = parser.parse_args()
    dataset, model = PreparedDataset.open(options.run / "dataset"), TrainedModel.open(options.run / "trained")
    if model.task.samples_from == "images":
        generated, real = change(model, dataset, columns=options.columns, seed=options.seed)
    else:
        generated = draw(options.run, columns=options.columns, rows=options.rows, seed=options.seed)
        real = choose(dataset, columns=options.columns)
    scale = max(1, SIDE // real.shape[1])
    above, below = (
        np.asarray(pixels.grid(images, columns=options.columns, scale=scale, gap=GAP)) for images in (generated, real)
    )
    between = np.full((3 * GAP * scale, *above.shape[1:]), 255, np.uint8)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pixels.save_picture(pixels.Image.fromarray(np.concatenate([above, between, below])), options.output)


def draw(run: Path, *, columns: int, rows: int, seed: int) -> np.ndarray:
    """Returns generated images uint8 [rows * columns, H, W, C], each column of one class where there are labels."""
    generate = tf.saved_model.load(str(run / "model" / "saved_model")).signatures["generate"]
    if "label" not in generate.structured_input_signature[1]:
        return generate(seed=tf.constant(seed, tf.int64), count=tf.constant(rows * columns))["images"].numpy()
    per_class = [
        generate(seed=tf.constant(seed + label, tf.int64), count=tf.constant(rows), label=tf.constant(label, tf.int64))[
            "images"
        ].numpy()
        for label in range(columns)
    ]
    return np.stack(per_class, axis=1).reshape(-1, *per_class[0].shape[1:])


def change(model: TrainedModel, dataset: PreparedDataset, *, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs and what becomes of them, uint8 [2 * columns, H, W, C], and the true images [columns, H, W, C].

    Without true images, they are the inputs [columns, H, W, C], and what becomes of them.
    """
    samples = next(model.sampler("best", held_out=dataset).batches(columns, seed=seed))
    *above, below = [images for images in (samples.unchanged, samples.images, samples.truths) if images is not None]
    return np.concatenate(above), below


def choose(dataset: PreparedDataset, *, columns: int) -> np.ndarray:
    """Returns the first real test images uint8 [columns, H, W, C], the first of each class where there are labels."""
    images, labels = dataset.load("test")
    if dataset.classes:
        return images[[int(np.argmax(labels == label)) for label in range(columns)]]
    return images[:columns]


if __name__ == "__main__":
    main()
