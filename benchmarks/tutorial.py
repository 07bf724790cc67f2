"""The classic DCGAN loop of tutorials: the baseline of the benchmarks.

The networks are those of `ganlib.models.Dcgan` at 28x28, written with plain Keras. Adam with a learning rate of 1e-4
and Keras' defaults, batches of 256, float32, one `tf.function` per step.
"""

import keras
import numpy as np
import tensorflow as tf

LATENT_DIM = 100
BATCH = 256


def generator() -> keras.Model:
    """Returns the generator: latents [N, 100] to images [N, 28, 28, 1]."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Reshape((7, 7, 256)),
            layers.Conv2DTranspose(128, 5, strides=1, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(1, 5, strides=2, padding="same", use_bias=False, activation="tanh"),
        ]
    )


def discriminator() -> keras.Model:
    """Returns the discriminator: images [N, 28, 28, 1] to logits [N, 1]."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(64, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Conv2D(128, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


class Tutorial:
    """Networks, optimizers and the training step.

    Args:
        images: uint8 [N, H, W, C]; 28x28 grey ones for the networks of the tutorial.
        seed: Seed of the weights and of the order of images.
        batch: Batch size.
        networks: Generator and discriminator; absent means those of the tutorial.
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        seed: int,
        batch: int = BATCH,
        networks: tuple[keras.Model, keras.Model] | None = None,
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.batch = batch
        self.generator, self.discriminator = networks or (generator(), discriminator())
        self._optimizers = keras.optimizers.Adam(1e-4), keras.optimizers.Adam(1e-4)
        pictures = (images.astype("float32") - 127.5) / 127.5
        dataset = tf.data.Dataset.from_tensor_slices(pictures).shuffle(len(pictures), seed=seed).repeat()
        self._batches = iter(dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE))
        self._step = tf.function(self._update)

    def train(self, steps: int) -> None:
        """Runs a number of steps, each called from Python."""
        for _ in range(steps):
            losses = self._step(next(self._batches))
        losses[0].numpy()  # waits for the last step

    def samples(self, count: int, *, seed: int) -> np.ndarray:
        """Returns uint8 images [count, H, W, C]."""
        latents = tf.random.stateless_normal([count, LATENT_DIM], [seed, 0])
        parts = [self.generator(latents[start : start + 250], training=False) for start in range(0, count, 250)]
        pictures = np.concatenate([part.numpy() for part in parts])
        return np.clip(np.rint((pictures + 1) * 127.5), 0, 255).astype(np.uint8)

    def _update(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        noise = tf.random.normal([self.batch, LATENT_DIM])
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fakes = self.generator(noise, training=True)
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fakes, training=True)
            generator_loss = cross_entropy(tf.ones_like(fake_logits), fake_logits)
            discriminator_loss = cross_entropy(tf.ones_like(real_logits), real_logits)
            discriminator_loss += cross_entropy(tf.zeros_like(fake_logits), fake_logits)
        for network, optimizer, tape, loss in (
            (self.generator, self._optimizers[0], generator_tape, generator_loss),
            (self.discriminator, self._optimizers[1], discriminator_tape, discriminator_loss),
        ):
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return generator_loss, discriminator_loss
