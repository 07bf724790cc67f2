"""What a task is: which networks there are, how a batch becomes fakes, what a sample is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from ganlib.models.base import Architecture, ImageShape

    Batch = dict[str, tf.Tensor]
    Inputs = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Networks:
    """The networks of a task by name; a discriminator's name is that of the match it judges."""

    generators: dict[str, keras.Model]
    discriminators: dict[str, keras.Model]


@dataclass(frozen=True)
class Match:
    """What one discriminator compares.

    Attributes:
        real: float32 [N, H, W, C] in -1..1.
        fake: The same of generated images.
        condition: Further inputs of the discriminator, for real and fake image of an index alike.
    """

    real: tf.Tensor
    fake: tf.Tensor
    condition: Mapping[str, tf.Tensor] = field(default_factory=dict)


class Task(Config):
    """What the generator is asked to do. Final classes add `kind` and their settings."""

    def check(self, *, classes: int) -> None:
        """Says whether data with so many classes (0 without labels) can serve the task.

        Raises:
            ValueError: It cannot; the message says what is needed.
        """
        del classes

    @abstractmethod
    def build(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> Networks:
        """Builds all networks; `classes` is the number of the data's classes."""

    @abstractmethod
    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds what is random to a global batch, before it is spread over replicas.

        Args:
            batch: `images` uint8 [N, H, W, C] and `labels` int64 [N].
            seed: Chooses the draws of the run, from 0 to 2**63 - 1.
            number: Number of the batch, int64; the same number always gives the same draw.
        """

    @abstractmethod
    def play(self, generators: dict[str, keras.Model], batch: Batch, *, training: bool) -> dict[str, Match]:
        """Returns what each discriminator compares, gradients flowing through the fakes."""

    def extra_terms(self, batch: Batch, matches: dict[str, Match]) -> dict[str, tf.Tensor]:
        """Returns further terms of the generator's loss, such as a reconstruction's."""
        del batch, matches
        return {}

    @abstractmethod
    def sampler(self, generators: dict[str, keras.Model]) -> keras.Model:
        """Returns the network that is scored and shipped."""

    @abstractmethod
    def inputs(
        self,
        count: int | tf.Tensor,
        *,
        seed: int | tf.Tensor,
        shares: Sequence[float],
        label: int | tf.Tensor | None = None,
    ) -> Inputs:
        """Returns inputs of the sampler for `count` samples; the first ones do not depend on the count.

        Works on tensors too, so that the exported model can draw its own inputs.

        Args:
            count: Number of samples.
            seed: Chooses them, an int64; whoever draws for a purpose of its own gives a key of `streams`.
            shares: Share of each class among the real images, empty without labels.
            label: Class to ask for, one for all or one each; absent means classes as frequent as the real ones.

        Raises:
            ValueError: A class is asked for where none can be.
        """

    @property
    def takes_label(self) -> bool:
        """Whether a class can be asked for."""
        return False
