"""Features of a small classifier that is trained on the labelled real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganlib import pixels
from ganlib.evaluation.extractors.base import BATCH, Extractor, FittedExtractor
from ganlib.evaluation.extractors.network import NetworkSettings, facts_on_test_images

if TYPE_CHECKING:
    from ganlib.data.records import PreparedDataset


class Classifier(Extractor):
    """The layer before the logits of a classifier for the classes of the data."""

    kind: Literal["classifier"] = "classifier"
    network: NetworkSettings = NetworkSettings()
    """Size and training of the classifier."""

    def fit(self, dataset: PreparedDataset, *, seed: int, weights: Path | None = None) -> FittedExtractor:
        """Trains the classifier on the training images."""
        del weights
        if not dataset.classes:
            raise ValueError(
                "the classifier needs labelled images; set evaluation.extractor=random for images without labels. "
                f"Received: data={dataset.name!r} without classes"
            )
        images, labels = dataset.load("train")
        network = self.network.train(images, labels, classes=len(dataset.classes), seed=seed)
        facts = facts_on_test_images(network, *dataset.load("test"))
        name, batch = f"{dataset.name}_classifier", pixels.batch_size(dataset.image_shape, limit=BATCH)
        return FittedExtractor(name, network, dataset.classes, facts, batch=batch)
