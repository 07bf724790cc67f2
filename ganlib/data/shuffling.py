"""Endless shuffled batches, in the graph and stateless: a pure function of the seed and the batch number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from etils import epy

from ganlib import streams
from ganlib.data.conform import Resize

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

SHUFFLE_RECORDS = 16_384
METHODS: dict[Resize, str] = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "lanczos": "lanczos3",
    "nearest": "nearest",
}


def from_memory(
    tensors: Mapping[str, tf.Tensor], batch_size: int, per_epoch: int, *, seed: int, start: int
) -> tf.data.Dataset:
    """Returns batches of examples in memory, of which each epoch shuffles all.

    Args:
        tensors: The examples, tensors by name.
        batch_size: Examples in a batch.
        per_epoch: Batches in an epoch.
        seed: Chooses the order.
        start: Number of the first batch.
    """
    count = len(next(iter(tensors.values())))
    first_epoch, offset = divmod(start, per_epoch)

    # In the graph, since TensorFlow never frees a Python generator that is not run to its end.
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        key = streams.pair(streams.key("order", seed), epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), key)
        chosen = tf.reshape(order[: per_epoch * batch_size], [per_epoch, batch_size])
        return tf.data.Dataset.from_tensor_slices(chosen)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch_batches)
    return epochs.skip(offset).map(lambda index: {name: tf.gather(tensor, index) for name, tensor in tensors.items()})


def from_files(
    files: Sequence[str],
    batch_size: int,
    per_epoch: int,
    *,
    read: Callable[[tf.Tensor], tf.data.Dataset],
    seed: int,
    start: int,
) -> tf.data.Dataset:
    """Returns batches of serialized records, of which each epoch shuffles the files and a window of records.

    Args:
        files: TFRecord files.
        batch_size: Records in a batch.
        per_epoch: Batches in an epoch.
        read: Returns the records of a file.
        seed: Chooses the order.
        start: Number of the first batch.
    """
    first_epoch, offset = divmod(start, per_epoch)

    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # of this function's graph, so that the global seed of the program changes nothing
        order_key, window_key = (streams.pair(streams.key(word, seed), epoch) for word in ("order", "window"))
        order = tf.random.experimental.stateless_shuffle(files, order_key)
        window_seed = tf.random.stateless_uniform([], window_key, maxval=np.iinfo(np.int32).max, dtype=tf.int64)
        records = tf.data.Dataset.from_tensor_slices(order).interleave(read, cycle_length=4)
        shuffled = records.shuffle(SHUFFLE_RECORDS, seed=window_seed)
        return shuffled.batch(batch_size, drop_remainder=True).take(per_epoch)

    return tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch_records).skip(offset)


def mirror(examples: tf.data.Dataset, batch_size: int, *, seed: int, start: int) -> tf.data.Dataset:
    """Returns the batches with half of the images mirrored left to right, and their targets with them.

    Args:
        examples: Batches of dicts; all values but `labels` are images [N, H, W, C].
        batch_size: Examples in a batch.
        seed: Chooses the images, together with the batch number.
        start: Number of the first batch.
    """

    def mirror_batch(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        key = streams.pair(streams.key("mirroring", seed), number)
        chosen = tf.random.stateless_uniform([batch_size, 1, 1, 1], key) < 0.5
        return {
            name: values if name == "labels" else tf.where(chosen, tf.reverse(values, [2]), values)
            for name, values in batch.items()
        }

    return examples.enumerate(start).map(mirror_batch)


def jitter(
    examples: tf.data.Dataset,
    batch_size: int,
    *,
    factor: float,
    crop: tuple[int, int],
    resize: Mapping[str, Resize],
    seed: int,
    start: int,
) -> tf.data.Dataset:
    """Returns the batches with each image enlarged and cropped at a random place, and its target alike.

    Args:
        examples: Batches of dicts; all values but `labels` are images, uint8 [N, H, W, C].
        batch_size: Examples in a batch.
        factor: The images are enlarged by this factor, 1 or more, to a whole number of pixels.
        crop: Height and width of the crops, no larger than the images.
        resize: Filters for enlarging, by the names of the images.
        seed: Chooses the places, together with the batch number.
        start: Number of the first batch.
    """

    def jitter_batch(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        height, width = batch["images"].shape[1:3]
        sides = round(factor * height), round(factor * width)
        key = streams.pair(streams.key("jitter", seed), number)
        places = [side - cropped + 1 for side, cropped in zip(sides, crop, strict=True)]  # along each axis
        drawn = tf.random.stateless_uniform([batch_size, 2], key) * tf.constant(places, tf.float32)
        rows, columns = (tf.cast(drawn[:, axis, None], tf.int32) + tf.range(crop[axis]) for axis in (0, 1))

        def crop_batch(images: tf.Tensor, method: Resize) -> tf.Tensor:
            if sides != (height, width):
                images = tf.round(tf.image.resize(images, sides, METHODS[method]))
                images = tf.saturate_cast(images, tf.uint8)  # most filters overshoot at edges
            return tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)

        return {
            name: values if name == "labels" else crop_batch(values, resize[name]) for name, values in batch.items()
        }

    return examples.enumerate(start).map(jitter_batch, num_parallel_calls=tf.data.AUTOTUNE)
