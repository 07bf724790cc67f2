"""Masks of a user's own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from ganlib.data import read_pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = np.arange(7, -1, -1, dtype=np.uint8)  # of a byte, as `numpy.packbits` orders them


@functools.lru_cache(maxsize=4)
def load(location: str, *, height: int, width: int, max_share: float = 1.0) -> NDArray[np.uint8]:
    """Reads masks of any size and resizes them to the nearest pixel. They are read once for each size.

    A pixel belongs to the hole if it is brighter than half of the brightest pixel of all masks, so 0 and 1 are as good
    as 0 and 255. A transparent pixel counts as white.

    Args:
        location: A folder, an archive, an npz file, or prepared images.
        height: Height of the result.
        width: Width of the result.
        max_share: Masks whose hole covers more than this share of the image are left out.

    Returns:
        uint8 [masks, bytes], eight pixels in a byte, row by row: a large set of masks takes an eighth of its size.

    Raises:
        ValueError: A mask cannot be read, has no hole, or has nothing else; or none is left.
    """
    names, sizes, resized, brightest = [], set(), [], 0
    for name, picture in read_pictures(location, colour="grey"):
        names.append(name)
        sizes.add(picture.size)
        brightest = max(brightest, int(np.asarray(picture).max()))
        resized.append(picture.resize((width, height), Image.Resampling.NEAREST))
    if not names:
        raise ValueError(f"expected masks that are white in the hole and black around it. Received: masks={location!r}")
    masks, large = [], 0
    for name, picture in zip(names, resized, strict=True):
        hole = np.asarray(picture) > brightest / 2
        if hole.all() or not hole.any():
            what = "nothing but a hole" if hole.any() else "no hole"
            received = f"masks={location!r}, where {name} has {what} at {width}x{height}"
            raise ValueError(f"expected masks that are white in the hole and black around it. Received: {received}")
        if hole.mean() > max_share:
            large += 1
        else:
            masks.append(np.packbits(hole))
    if not masks:
        received = f"masks={location!r}, max_share={max_share:g}"
        raise ValueError(f"expected masks whose hole is at most max_share of the image. Received: {received}")
    how = "" if sizes == {(width, height)} else f", resized to {width}x{height}"
    left_out = f"; {large} left out, whose hole is more than max_share={max_share:g} of the image" if large else ""
    print(f"damage: {len(masks)} masks from {location}{how}{left_out}", flush=True)
    return np.stack(masks)


def choose(location: str, keys: tf.Tensor, *, height: int, width: int, max_share: float = 1.0) -> tf.Tensor:
    """Returns one of the masks for each key, bool [N, H, W]; see `load`."""
    with tf.init_scope():  # outside the graph, which must not grow with the masks
        masks = tf.constant(load(location, height=height, width=width, max_share=max_share))
    count = masks.shape[0]
    numbers = tf.map_fn(lambda key: tf.random.stateless_uniform([], key, 0, count, tf.int64), keys)
    bits = tf.bitwise.right_shift(tf.gather(masks, numbers)[:, :, None], BITS) & 1
    bits = tf.reshape(bits, [-1, masks.shape[1] * 8])[:, : height * width]
    return tf.reshape(bits, [-1, height, width]) > 0
