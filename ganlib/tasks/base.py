"""The base class of tasks: what training, evaluation and export ask of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape

    Batch = dict[str, tf.Tensor]
    Inputs = dict[str, tf.Tensor]
    Terms = dict[str, tf.Tensor]

LABEL = "label"  # the input of a network that takes a class


@dataclass(frozen=True)
class Networks:
    """The networks of a task by name.

    Attributes:
        generators: Networks that make images. Their averages are scored and shipped.
        discriminators: Networks that classify images as real or fake. Each has the name of its match.
        frozen: Networks that only give features. They are not trained and not part of a checkpoint.
    """

    generators: dict[str, keras.Model]
    discriminators: dict[str, keras.Model]
    frozen: dict[str, keras.Model] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """What one discriminator compares.

    Attributes:
        real: float32 [N, H, W, C] in -1..1.
        fake: The same shape, generated.
        condition: Further inputs of the discriminator by name, shared by the real and the fake image at each index.
            Those of rank 4 are images, and an augmentation moves them with the images that they belong to.
        weight: Factor on the losses of both networks in this match.
        pooled: What updates of the discriminator use in place of `fake`, such as images from earlier steps.
    """

    real: tf.Tensor
    fake: tf.Tensor
    condition: Mapping[str, tf.Tensor] = field(default_factory=dict)
    weight: float = 1.0
    pooled: tf.Tensor | None = None

    @property
    def shown(self) -> tf.Tensor:
        """The generated images that an update of the discriminator uses."""
        return self.fake if self.pooled is None else self.pooled


@dataclass(frozen=True)
class Play:
    """The generators' forward pass: images for each discriminator, and further terms of the generators' loss.

    Attributes:
        matches: What each discriminator compares, by the discriminator's name.
        terms: Returns further terms of the generators' loss, such as a reconstruction's, as float32 scalars by name. It
            is called for updates of the generators only, after the update of the discriminators.
    """

    matches: dict[str, Match]
    terms: Callable[[], Terms] = dict


@dataclass(frozen=True)
class Signature:
    """A function that is shipped beside the networks, in the SavedModel.

    Attributes:
        function: Takes tensors by name and returns tensors by name.
        inputs: Its arguments, as `tf.TensorSpec` by name.
        example: Arguments for which every process must return the same result.
        refused: Arguments that it must refuse.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    example: Mapping[str, Any]
    refused: Sequence[Mapping[str, Any]] = ()


class Task(Config):
    """What the generators are asked to do. Concrete classes add `kind` and their settings."""

    kind: str

    def check_architecture(self, architecture: Architecture) -> None:
        """Checks whether the task supports an architecture, before there is any data.

        Raises:
            ValueError: It does not; the message says what the task needs.
        """
        del architecture

    def check_data(self, *, classes: int, paired: bool) -> None:
        """Checks whether the task supports the data.

        Args:
            classes: Number of the data's classes, 0 without labels.
            paired: Whether each image has a target.

        Raises:
            ValueError: It does not; the message says what the task needs.
        """
        del classes, paired

    def notes(self, *, classes: int) -> list[str]:
        """Returns what the user should know about the data before a run; see `check_data`."""
        del classes
        return []

    @abstractmethod
    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str
    ) -> dict[str, keras.Model]:
        """Builds the generators.

        Args:
            architecture: The architecture.
            image_shape: Height, width and channels of the data.
            classes: Number of the data's classes, 0 without labels.
            dtype: Keras dtype policy.
        """

    @abstractmethod
    def discriminators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int
    ) -> dict[str, keras.Model]:
        """Builds the discriminators. Each takes `images`, and by name whatever its match has as condition.

        Args:
            architecture: The architecture.
            image_shape: Height, width and channels of the data.
            classes: Number of the data's classes, 0 without labels.
            dtype: Keras dtype policy.
            seed: Seed of random layers, such as dropout.
        """

    def frozen(self, *, image_shape: ImageShape) -> dict[str, keras.Model]:
        """Returns networks that only give features, as for a perceptual loss; each call returns the same ones."""
        del image_shape
        return {}

    def batches(self, dataset: PreparedDataset, *, batch_size: int, seed: int, start: int) -> tf.data.Dataset:
        """Returns endless training batches, a pure function of the seed and the batch number.

        Args:
            dataset: Prepared images.
            batch_size: Images in a global batch.
            seed: Chooses the order.
            start: Number of the first batch.

        Returns:
            Dataset of dicts of tensors, as `PreparedDataset.batches` gives them.
        """
        return dataset.batches(batch_size=batch_size, seed=seed, start=start)

    @abstractmethod
    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds random tensors to a global batch, before it is split between replicas.

        Args:
            batch: `images` uint8 [N, H, W, C], `labels` int64 [N], and for paired data `targets`, like `images`.
            seed: Chooses the draws of the run, from 0 to 2**63 - 1.
            number: Number of the batch, int64; the same number always gives the same draw.
        """

    @abstractmethod
    def play(self, networks: Networks, batch: Batch, *, training: bool) -> Play:
        """Generates images and returns what the discriminators compare, with gradients flowing through the fakes."""

    @abstractmethod
    def shipped(self, generators: dict[str, keras.Model]) -> dict[str, keras.Model]:
        """Returns the networks that are saved and shipped, by name; the first one is scored.

        Each takes a dict of named tensors and returns images, float32 [N, H, W, C] in -1..1.
        """

    @property
    def samples_from(self) -> Literal["seed", "images"]:
        """What samples are made from: random numbers, or held-out images."""
        return "seed"

    @abstractmethod
    def inputs(
        self,
        count: int | tf.Tensor,
        *,
        seed: int | tf.Tensor,
        shares: Sequence[float],
        label: int | tf.Tensor | None = None,
        examples: Mapping[str, NDArray[Any]] | None = None,
        network: str | None = None,
    ) -> Inputs:
        """Returns inputs of a shipped network for `count` samples; the first ones do not depend on the count.

        Works on tensors too, so that an exported model can draw its own inputs.

        Args:
            count: Number of samples.
            seed: Chooses them, an int64. `streams.key` gives one that no other purpose uses.
            shares: Share of each class among the real images, empty without labels.
            label: Requested class, one for all samples or one for each. By default classes are drawn as in the data.
            examples: If samples are made from images, `count` held-out examples, arrays by name.
            network: Name of the shipped network; by default the first one.

        Raises:
            ValueError: A class is asked for and the task takes none.
        """

    @property
    def takes_label(self) -> bool:
        """Whether a class can be asked for."""
        return False

    def real(self, dataset: PreparedDataset) -> PreparedDataset:
        """Returns the real images that samples are compared with: all, or a part of the data set."""
        return dataset

    def held_out(self, dataset: PreparedDataset) -> PreparedDataset:
        """Returns the data whose test images samples are made from, if they are made from images."""
        return dataset

    def sample_limit(self, dataset: PreparedDataset) -> int | None:
        """Returns the largest number of samples, None if there is no limit."""
        return None if self.samples_from == "seed" else self.held_out(dataset).count("test")

    def truth(self, examples: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
        """Returns the true image of each sample, uint8 [N, H, W, C], or None where samples have none."""
        del examples
        return None

    def pictures(
        self, samples: NDArray[np.uint8], inputs: Mapping[str, NDArray[Any]], examples: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.uint8]]:
        """Returns what a sheet shows side by side for each sample, such as input, output and truth.

        Args:
            samples: uint8 [N, H, W, C].
            inputs: Inputs of the network, by name.
            examples: The examples that they come from, empty where samples come from a seed.
        """
        del inputs, examples
        return [samples]

    def signatures(
        self, networks: Mapping[str, keras.Model], *, image_shape: ImageShape, classes: int
    ) -> dict[str, Signature]:
        """Returns the functions that are shipped beside `serving_default`, by name.

        Args:
            networks: What `shipped` returned.
            image_shape: Height, width and channels of the images.
            classes: Number of classes that can be asked for, 0 for none.
        """
        del networks, image_shape, classes
        return {}
