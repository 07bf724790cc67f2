"""The base class of translations between two domains of images that are no pairs."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any

from etils import epy
from pydantic import model_validator

from ganlib import streams
from ganlib.tasks.image_to_image import ImageToImageTask

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import ImageShape

SOURCE, TARGET = "source", "target"
DOMAINS = 2


class DomainTranslation(ImageToImageTask, ABC):
    """The domains are two classes of the data, or the images and the targets of pairs, drawn independently."""

    source: str | None = None
    """Class of the source domain; null means the first one of two classes."""
    target: str | None = None
    """Class of the target domain; null means the second one of two classes."""

    @model_validator(mode="after")
    def _check_domains(self) -> Self:
        if (self.source is None) != (self.target is None) or (self.source is not None and self.source == self.target):
            raise ValueError(
                "expected two different classes as task.source and task.target, or neither. "
                f"Received: source={self.source}, target={self.target}"
            )
        return self

    def check_data(self, *, image_shape: ImageShape, classes: Sequence[str], paired: bool) -> None:
        """Refuses data without the two domains."""
        del image_shape  # any will do
        missing = [name for name in (self.source, self.target) if name is not None and name not in classes]
        if missing:
            known = ", ".join(classes) or "none"
            raise ValueError(f"expected a class of the data as a domain ({known}). Received: {missing[0]}")
        if self.source is None and len(classes) != DOMAINS and not paired:
            raise ValueError(
                f"task={self.kind} needs two classes as domains, or pairs of images; of more classes, name two "
                f"as task.source and task.target. Received: classes={len(classes)}"
            )

    def domains(self, dataset: PreparedDataset) -> dict[str, PreparedDataset]:
        """Returns the images of the two domains, by the names `source` and `target`.

        Pairs of images are two domains too: training draws images and targets independently.
        """
        if self.source and self.target:
            return {SOURCE: dataset.of_class(self.source), TARGET: dataset.of_class(self.target)}
        if dataset.paired:
            return {SOURCE: dataset, TARGET: dataset.of("targets")}
        return dict(zip((SOURCE, TARGET), map(dataset.of_class, dataset.classes), strict=True))

    def batches(self, dataset: PreparedDataset, *, batch_size: int, seed: int, start: int) -> tf.data.Dataset:
        """Returns batches of `images` of the source domain and `targets` of the target domain, which are not pairs.

        Training goes through each domain at its own pace, in an order of its own.
        """
        batches = [
            domain.batches(batch_size=batch_size, seed=streams.key("domain", seed, number), start=start)
            for number, domain in enumerate(self.domains(dataset).values())
        ]
        images = [domain.shown for domain in self.domains(dataset).values()]
        zipped = tf.data.Dataset.zip(tuple(batches))
        return zipped.map(lambda one, other: {"images": one[images[0]], "targets": other[images[1]]})

    def passes(self, dataset: PreparedDataset, *, images: int) -> dict[str, float]:
        """Returns how often training goes through each domain."""
        return {name: images / domain.count("train") for name, domain in self.domains(dataset).items()}

    def real(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the target domain."""
        del network
        return self.domains(dataset)[TARGET]

    def held_out(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the source domain."""
        del network
        return self.domains(dataset)[SOURCE]

    def truth(self, examples: Mapping[str, NDArray[Any]], network: str | None = None) -> NDArray[np.uint8] | None:
        """Returns the true translations if the data are pairs, which training does not know."""
        del network
        return examples.get("targets")
