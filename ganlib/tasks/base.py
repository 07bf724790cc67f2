"""The base class of tasks: what training, evaluation and export ask of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ganlib.schema import Config

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray

    from ganlib.data import PreparedDataset
    from ganlib.models.base import Architecture, ImageShape
    from ganlib.tasks.play import Networks, Play, Signature

    Batch = dict[str, tf.Tensor]
    Inputs = dict[str, tf.Tensor]

LABEL = "label"  # the input of a network that takes a class
GENERATOR, DISCRIMINATOR = "generator", "discriminator"  # names in tasks that have one of each


class Task(Config):
    """What the generators are asked to do. Concrete classes add `kind` and their settings."""

    kind: str

    def check_architecture(self, architecture: Architecture) -> None:
        """Checks whether the task supports an architecture, before there is any data.

        Raises:
            ValueError: It does not; the message says what the task needs.
        """
        del architecture

    @property
    def has_real_patches(self) -> bool:
        """Whether patches of generated images count as real ones, see `Match.generated`."""
        return False

    def check_data(self, *, image_shape: ImageShape, classes: Sequence[str], paired: bool) -> None:
        """Checks whether the task supports the data.

        Args:
            image_shape: Height, width and channels of the images.
            classes: Names of the data's classes, empty without labels.
            paired: Whether each image has a target.

        Raises:
            ValueError: It does not; the message says what the task needs.
        """
        del image_shape, classes, paired

    def notes(self, architecture: Architecture, *, classes: int) -> list[str]:
        """Returns what the user should know before a run with an architecture; see `check_data`."""
        del architecture, classes
        return []

    @abstractmethod
    def generators(
        self, architecture: Architecture, *, image_shape: ImageShape, classes: int, dtype: str, seed: int | None
    ) -> dict[str, keras.Model]:
        """Builds the generators.

        Args:
            architecture: The architecture.
            image_shape: Height, width and channels of the data.
            classes: Number of the data's classes, 0 without labels.
            dtype: Keras dtype policy.
            seed: Seed of random layers, such as dropout. None builds the same weights without random layers: networks
                that are scored and shipped.
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

    def auxiliary(self, generators: dict[str, keras.Model], *, image_shape: ImageShape) -> dict[str, keras.Model]:
        """Builds networks that are trained with the generators and serve training alone, such as heads on features.

        Args:
            generators: The generators that are trained.
            image_shape: Height, width and channels of the data.
        """
        del generators, image_shape
        return {}

    def memory(self, *, image_shape: ImageShape, batch_size: int) -> dict[str, keras.Variable]:
        """Returns the variables that the task changes while it plays, by name.

        Args:
            image_shape: Height, width and channels of the data.
            batch_size: Images in a global batch.
        """
        del image_shape, batch_size
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

    def shipped(self, generators: dict[str, keras.Model]) -> dict[str, keras.Model]:
        """Returns the networks that are saved and shipped, by name: the generators.

        Each takes a dict of named tensors and returns images, float32 [N, H, W, C] in -1..1.
        """
        return generators

    @property
    def scored(self) -> tuple[str, ...]:
        """Names of the shipped networks that are scored."""
        return (GENERATOR,)

    @property
    def best_measure(self) -> str:
        """What chooses the best state: `distance`, `l1`, or `l1_hole`, each the lower the better.

        `distance` is the mean of the Frechet distances of the networks that are scored; `l1` and `l1_hole` are the
        mean absolute differences to the true images.
        """
        return "distance"

    def origin(self, dataset: PreparedDataset) -> dict[str, Any]:
        """Returns facts beside the settings that identify a run, such as the checksum of further images.

        Args:
            dataset: The prepared images.
        """
        del dataset
        return {}

    def protocol(self, dataset: PreparedDataset, network: str | None = None) -> dict[str, Any]:
        """Returns facts about the inputs of samples that must be equal before two scores are compared.

        Args:
            dataset: The prepared images.
            network: Name of a shipped network; by default the first one that is scored.
        """
        del dataset, network
        return {}

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
            network: Name of the shipped network; by default the first one that is scored.

        Raises:
            ValueError: A class is asked for and the task takes none.
        """

    @property
    def takes_label(self) -> bool:
        """Whether a class can be asked for."""
        return False

    def real(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the real images that samples of a network are compared with: all, or a part of the data set."""
        del network
        return dataset

    def held_out(self, dataset: PreparedDataset, network: str | None = None) -> PreparedDataset:
        """Returns the data whose test images samples of a network are made from, if they are made from images."""
        del network
        return dataset

    def sample_limit(self, dataset: PreparedDataset, network: str | None = None) -> int | None:
        """Returns the largest number of samples of a network, None if there is no limit."""
        return None if self.samples_from == "seed" else self.held_out(dataset, network).count("test")

    def passes(self, dataset: PreparedDataset, *, images: int) -> dict[str, float]:
        """Returns how often training goes through each set of images, by the name of the set.

        Args:
            dataset: Prepared images.
            images: Images of each set that training shows.
        """
        return {dataset.name: images / dataset.count("train")}

    def truth(self, examples: Mapping[str, NDArray[Any]], network: str | None = None) -> NDArray[np.uint8] | None:
        """Returns the true image of each sample of a network, uint8 [N, H, W, C], or None where samples have none."""
        del examples, network
        return None

    def inverse(self, network: str) -> str | None:
        """Returns the name of the network that undoes a network, or None."""
        del network
        return None

    def labels(self, examples: Mapping[str, NDArray[Any]]) -> NDArray[np.int64] | None:
        """Returns the class that each sample should have, int64 [N], if it has one without being asked for."""
        del examples
        return None

    def unchanged(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
        """Returns what doing nothing would give for each sample, uint8 [N, H, W, C], or None if that has no meaning.

        Args:
            inputs: Inputs of the network by name, empty where samples come from a seed.
        """
        del inputs
        return None

    def holes(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
        """Returns where each sample had to be invented, bool [N, H, W, 1], or None if there are no such places."""
        del inputs
        return None

    def pictures(
        self, samples: NDArray[np.uint8], *, unchanged: NDArray[np.uint8] | None, truth: NDArray[np.uint8] | None
    ) -> list[NDArray[np.uint8]]:
        """Returns what a sheet shows side by side for each sample: its input, if there is one, and its true image.

        Args:
            samples: uint8 [N, H, W, C].
            unchanged: What `unchanged` returned.
            truth: What `truth` returned.
        """
        return [images for images in (unchanged, samples, truth) if images is not None]

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
