"""Whether generated images can stand in for real ones: a classifier learns from them and is tested on real ones.

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

LIMIT = 50_000  # images of each kind that a classifier learns from


def training_count(dataset: PreparedDataset) -> int:
    """Returns how many generated images to learn from: as many as there are real ones, up to `LIMIT`."""
    return min(dataset.count("train"), LIMIT)


def classification_accuracy(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    dataset: PreparedDataset,
    *,
    network: NetworkSettings,
    seed: int,
) -> list[Score]:
    """Trains one classifier on generated images, one on as many real ones and one on both; tests each on real ones.

    All three make equally many steps.

    Args:
        images: uint8 [N, H, W, C], generated.
        labels: int64 [N], the class that each was asked for.
        dataset: Real images with labels.
        network: The classifier.
        seed: Of its weights and the order of the images.

    Returns:
        The accuracies on the test images, with the one by real images as floor.

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
    found = {}
    for kind, (pictures, targets) in kinds.items():
        print(f"classification accuracy: a classifier of {len(pictures)} images, {kind}", flush=True)
        trained = network.train(pictures, targets, classes=len(dataset.classes), seed=seed, steps=steps)
        found[kind] = accuracy(trained, test, test_labels)
    error = {kind: fraction_error(share * len(test), len(test)) for kind, share in found.items()}
    meanings = {
        "cas": ("generated", f"accuracy on real test images of a classifier that learned from {len(images)} generated"),
        "cas_with_real": ("both", f"the same of one that learned from {len(real)} real and these generated"),
    }
    return [
        Score(
            f"{name}_{dataset.name}",
            found[kind],
            found["real"],
            f"{meaning} images; the floor is that of {len(real)} real images alone",
            error[kind],
            error["real"],
        )
        for name, (kind, meaning) in meanings.items()
    ]
