"""Whether generated images can replace real ones: a classifier is trained on them and tested on real ones.

The classification accuracy score of Ravuri and Vinyals 2019, https://arxiv.org/abs/1905.10887.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.extractors.network import NetworkSettings, accuracy
from ganlib.evaluation.scores import Score, fraction_error

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset

LIMIT = 50_000  # maximum number of images of each kind to train on


def training_count(dataset: PreparedDataset) -> int:
    """Returns how many generated images to train on: the number of real ones, up to `LIMIT`."""
    return min(dataset.count("train"), LIMIT)


def classification_accuracy(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    dataset: PreparedDataset,
    *,
    network: NetworkSettings,
    seed: int,
) -> list[Score]:
    """Trains classifiers on generated images, on the same number of real ones, and on both; tests each on real ones.

    All three are trained for the same number of steps.

    Args:
        images: uint8 [N, H, W, C], generated.
        labels: int64 [N], the requested class of each.
        dataset: Real images with labels.
        network: Settings of the classifier.
        seed: Seed of its weights and of the order of the images.

    Returns:
        The accuracies on the test images, with that of the classifier trained on real images as floor.

    Raises:
        ValueError: The real images have no labels.
    """
    if not dataset.classes:
        raise ValueError(
            f"the classification accuracy score needs labelled images. Received: data={dataset.name!r} without classes"
        )
    real, real_labels = dataset.load("train")
    real, real_labels = real[: len(images)], real_labels[: len(images)]
    test, test_labels = dataset.load("test")
    steps = network.steps(len(real))
    kinds = {
        "real": (real, real_labels),
        "generated": (images, labels),
        "both": (np.concatenate([real, images]), np.concatenate([real_labels, labels])),
    }
    accuracies = {}
    for kind, (pictures, targets) in kinds.items():
        print(f"classification accuracy: training on {len(pictures)} images ({kind})", flush=True)
        trained = network.train(pictures, targets, classes=len(dataset.classes), seed=seed, steps=steps)
        accuracies[kind] = accuracy(trained, test, test_labels)
    error = {kind: fraction_error(share * len(test), len(test)) for kind, share in accuracies.items()}
    meanings = {
        "cas": ("generated", f"accuracy on real test images of a classifier trained on {len(images)} generated"),
        "cas_with_real": ("both", f"the same for {len(real)} real and these generated"),
    }
    return [
        Score(
            f"{name}_{dataset.name}",
            accuracies[kind],
            accuracies["real"],
            f"{meaning} images; the floor is the accuracy for {len(real)} real images alone",
            error[kind],
            error["real"],
        )
        for name, (kind, meaning) in meanings.items()
    ]
