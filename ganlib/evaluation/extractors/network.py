"""The small convolutional network of the extractors that are trained on the dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etils import epy
from pydantic import Field

from ganlib import pixels, runtime, streams
from ganlib.environment import standard_keras
from ganlib.progress import Progress
from ganlib.schema import Config

with epy.lazy_imports():
    import keras
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_MAP = 4
LARGEST_WIDTH = 256


class NetworkSettings(Config):
    """Size and training of the network."""

    width: int = Field(default=32, ge=4)
    """Channels of the first convolution; each further one doubles them, up to 256."""
    feature_dim: int = Field(default=64, ge=2)
    """Number of features: the width of the layer before the logits."""
    epochs: int = Field(default=15, ge=1)
    """Maximum number of passes over the training images."""
    max_steps: int = Field(default=3000, ge=1)
    """Maximum number of training steps, which limits the time for large datasets."""
    batch_size: int = Field(default=128, ge=2)
    """Batch size."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Initial learning rate of Adam; it decays to zero along a cosine."""

    def steps(self, images: int) -> int:
        """Returns the number of training steps for a number of images."""
        return min(self.max_steps, self.epochs * (images // min(self.batch_size, images)))

    def train(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        classes: int,
        seed: int,
        steps: int | None = None,
    ) -> keras.Model:
        """Trains a classifier and returns its network.

        Args:
            images: uint8 [N, H, W, C].
            labels: int64 [N] in 0..classes-1.
            classes: Number of classes.
            seed: Seed of the initial weights and of the order of the images.
            steps: Training steps; None means `self.steps(N)`.

        Returns:
            Network from images in 0..255 to (features float32 [N, D], logits float32 [N, classes]).
        """
        with standard_keras(), runtime.keras_seed(streams.key("extractor weights", seed)):
            network = self._build(images.shape[1:], classes)
        batch = min(self.batch_size, len(images))
        steps = steps or self.steps(len(images))
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(self.learning_rate, steps))
        optimizer.build(network.trainable_variables)

        @tf.function
        def step(pictures: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                logits = network(pictures, training=True)[1]
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
                loss = tf.reduce_mean(losses)
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply(gradients, network.trainable_variables)
            return loss

        progress = Progress("extractor", total=steps, unit="steps")
        random = np.random.default_rng(streams.key("extractor order", seed))
        order = random.permutation(len(images))
        position = 0
        with runtime.deterministic(enabled=True), runtime.true_float32():  # every score records the hash of the weights
            for number in range(1, steps + 1):
                if position + batch > len(order):
                    order, position = random.permutation(len(images)), 0
                rows = order[position : position + batch]
                position += batch
                loss = step(tf.constant(images[rows]), tf.constant(labels[rows]))
                progress.update(number, note=f"loss {float(loss):.3f}" if number % 20 == 0 or number == steps else "")
        return network

    def _build(self, image_shape: tuple[int, ...], classes: int) -> keras.Model:
        images = keras.Input(image_shape, name="images", dtype="uint8")
        x = keras.layers.Rescaling(1 / pixels.HALF_RANGE, offset=-1.0)(images)
        size, width = max(image_shape[:2]), self.width
        while size > SMALLEST_MAP:
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
            size, width = -(-size // 2), min(2 * width, LARGEST_WIDTH)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dropout(0.25)(x)
        features = keras.layers.Dense(self.feature_dim, activation="relu", name="features")(x)
        logits = keras.layers.Dense(classes, name="logits")(features)
        return keras.Model(images, [features, logits], name="extractor")


def facts_on_test_images(network: Any, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
    """Returns the accuracy on test images, and the accuracy of always predicting the most frequent class (chance)."""
    return {
        "test_accuracy": accuracy(network, images, labels),
        "chance": float(np.bincount(labels).max() / len(labels)),
    }


def accuracy(network: Any, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Returns the accuracy on uint8 images [N, H, W, C]: the fraction whose largest logit is that of the label."""
    correct = 0
    for start in range(0, len(images), 500):
        with runtime.true_float32():
            logits = network(images[start : start + 500], training=False)[1]
        correct += int((np.argmax(logits, axis=1) == labels[start : start + 500]).sum())
    return correct / len(images)
