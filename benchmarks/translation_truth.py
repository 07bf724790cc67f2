"""Unpaired translation whose truth is known: Fashion-MNIST to its negative with stripes, and back.

    python benchmarks/translation_truth.py --data FOLDER [--minutes 60 | --steps N]

FOLDER has `fashion_mnist/` with the four idx files. The target of an image is its negative, in which two of four
columns are half as bright. Images and targets are written as PNG files side by side, so that both trainings read the
same data: unpaired translation draws the two halves independently, paired translation of the same networks knows which
belong together. The same networks are trained for the same minutes.

Expected: the unpaired translation of the test images comes nearer to their targets (PSNR) than halfway from doing
nothing to paired translation, and the hidden information is at most 2, which is what a way back that must double the
contrast may have (`ganlib/evaluation/measures/translation.py`).
"""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from timed import COLUMNS, Bench, digits, draw, options_of, save_rows, score, table, verdict

from ganlib import pixels, streams
from ganlib.data import Arrays, DataConfig, PreparedDataset, prepare
from ganlib.evaluation.measures.translation import hidden_information, identity_error, luminance_correlation
from ganlib.tasks.unpaired_translation import BACKWARD, FORWARD
from ganlib.training import TrainedModel

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
from PIL import Image  # isort: skip

COUNTS = {"train": 12_000, "test": 1_000}  # pairs
MOST_HIDDEN = 2.0
NETWORKS = {
    "model": {
        "kind": "resnet_translator",
        "width": 32,
        "blocks": 4,
        "discriminator_layers": 2,
        "discriminator_width": 32,
        "discriminator_norm": "spectral",
    },
    "objective": "hinge",
    "training": {
        "batch_size": 8,
        "generator_optimizer": {"kind": "adam", "learning_rate": 5e-4},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 5e-4},
        "schedule": "linear",
        "decay_start_fraction": 0.5,
    },
    "evaluation": {"extractor": "random"},
}
MEASURES = {
    "cycle_error": digits(4),
    "hidden_information_noise": digits(2),
    "hidden_information_jpeg": digits(2),
    "identity_error": digits(4),
    "luminance_correlation": digits(3),
}

Translate = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Trains both networks, scores them and prints the tables."""
    parser = options_of(__doc__, minutes=60, work="benchmark-translation-truth")
    options = parser.parse_args()
    bench = Bench.of(options)
    archive = options.work / "pairs.zip"
    if not archive.exists():
        write_pairs(options.data / "fashion_mnist", archive)
    data = {"name": "striped", "source": {"kind": "paired_images", "path": str(archive)}, "size": 28, "colour": "grey"}
    # An image's negative is no image of its own domain, so a network must not be drawn towards its input.
    task = {"kind": "unpaired_translation", "cycle_weight": 3.0, "identity_weight": 0.0}
    unpaired = bench.config(NETWORKS | {"data": data, "task": task})
    paired = bench.config(NETWORKS | {"data": data, "task": "paired_translation"})
    dataset, reference = bench.data(unpaired, "unpaired")
    model = bench.train(unpaired, dataset, reference, "unpaired")
    same_data, reference_of_pairs = bench.data(paired, "paired")
    supervised = bench.train(paired, same_data, reference_of_pairs, "paired")

    forward, backward = (draw(model, dataset, network=name, count=bench.samples) for name in (FORWARD, BACKWARD))
    known = draw(supervised, same_data, count=bench.samples)
    rows = {
        "unpaired": score(forward.images, forward, reference),
        "paired": score(known.images, forward, reference),
        "doing nothing": score(forward.unchanged, forward, reference),
    }
    print(table(f"to the target, {len(forward.images)} test images", rows, COLUMNS))
    returns = {
        "unpaired": score(backward.images, backward, reference.of(BACKWARD)),
        "doing nothing": score(backward.unchanged, backward, reference.of(BACKWARD)),
    }
    print(table("and back", returns, COLUMNS))
    hidden = unpaired_measures(model, FORWARD, {FORWARD: forward.unchanged, BACKWARD: backward.unchanged})
    print(table("without the truth", {"unpaired": hidden}, MEASURES))
    true = luminance_correlation([(forward.unchanged, forward.truths)])[0].value
    print(f"the true luminance_correlation is {true:.3f}")
    psnr = {name: row["psnr"] for name, row in rows.items()}
    halfway = (psnr["doing nothing"] + psnr["paired"]) / 2
    print(verdict("PSNR, halfway to paired", ours=psnr["unpaired"], limit=halfway, lower=False))
    for name in ("hidden_information_noise", "hidden_information_jpeg"):
        print(verdict(name, ours=hidden[name], limit=MOST_HIDDEN, lower=True))
    save_rows(
        bench.work / f"striped-{bench.budget}.png",
        {
            "input": forward.unchanged,
            "unpaired": forward.images,
            "paired": known.images,
            "truth": forward.truths,
            "and back": backward.images,
        },
    )


def write_pairs(folder: Path, archive: Path) -> None:
    """Writes an archive of PNG files, an image and its target side by side in each."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        for split, count in COUNTS.items():
            for number, image in enumerate(fashion_images(folder, archive.with_name("fashion"), split, count)):
                content = io.BytesIO()
                Image.fromarray(np.hstack([image, change(image)])).save(content, "png")
                file.writestr(f"{split}/{number:05d}.png", content.getvalue())


def fashion_images(folder: Path, prepared: Path, split: str, count: int) -> Iterator[np.ndarray]:
    """Yields the first images of a split, uint8 [28, 28]."""
    if not prepared.exists():
        prepare(DataConfig(source=Arrays(path=str(folder))), prepared)
    images, _ = PreparedDataset.open(prepared).load(split)
    yield from images[:count, :, :, 0]


def change(image: np.ndarray) -> np.ndarray:
    """Returns the negative of an image uint8 [H, W]; two of four columns are half as bright."""
    negative = 255 - image
    dark = np.arange(image.shape[1]) // 2 % 2 == 1
    return np.where(dark, negative // 2, negative).astype(np.uint8)


def unpaired_measures(model: TrainedModel, network: str, inputs: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the measures of a network that need no truth.

    Args:
        model: A trained model of unpaired translation.
        network: Name of the network.
        inputs: Test images of the domain that each network translates from, uint8 [N, H, W, C].
    """
    other = BACKWARD if network == FORWARD else FORWARD
    there, back = translator(model, network), translator(model, other)
    changed = there(inputs[network])
    scores = [
        *hidden_information([(inputs[network], changed, back(changed))], back, key=streams.key("benchmark", 1)),
        identity_error([(inputs[other], there(inputs[other]))]),
        *luminance_correlation([(inputs[network], changed)]),
    ]
    return {each.name: each.value for each in scores}


def translator(model: TrainedModel, name: str) -> Translate:
    """Returns a network of a model as a function of uint8 images [N, H, W, C]."""
    network = model.network("best", name)
    translate = tf.function(
        lambda images: pixels.to_uint8(network({"image": pixels.to_model_range(images)}, training=False)),
        autograph=False,
        input_signature=[tf.TensorSpec(network.input["image"].shape, tf.uint8)],
    )
    return lambda images: np.concatenate(
        [translate(images[start : start + 100]).numpy() for start in range(0, len(images), 100)]
    )


if __name__ == "__main__":
    main()
