"""Holes filled with smooth colours from their borders, in stock Keras layers only."""

from __future__ import annotations

from typing import Any

from etils import epy

with epy.lazy_imports():
    from keras import layers, ops

BOXES = (3, 3, 5, 9, 17, 33, 65, 129, 257)  # sides of the boxes that are averaged one after the other, in pixels
SURE = 8.0  # where more than an eighth of the weight is known, nothing of the next wider average is needed
TINY = 1e-6

Tensor = Any  # keras.KerasTensor, and no types come with it


def fill(image: Tensor, mask: Tensor) -> Tensor:
    """Fills holes with a weighted mean of the known pixels around them, the closer ones foremost.

    Known pixels, and beside them their weights, are averaged over wider and wider windows. Each unknown pixel takes the
    narrowest average that sees enough known ones, and the share that is missing from the next wider one, as the
    pull-push algorithm does (Gortler et al. 1996, The Lumigraph), but without halved maps: so any size will do. What is
    further than some 250 pixels from every known one becomes grey.

    Args:
        image: float32 [N, H, W, C] in -1..1. Its values under the mask are not used.
        mask: float32 [N, H, W, 1], 1 where the image is unknown.

    Returns:
        float32 [N, H, W, C] in -1..1; known pixels are those of the image, to the bit.
    """
    channels, known = image.shape[-1], 1.0 - mask
    x = ops.concatenate([image * known, known], axis=-1)
    averages = []
    for box in BOXES:
        for sides in ((box, 1), (1, box)):
            x = layers.AveragePooling2D(sides, strides=1, padding="same", dtype="float32")(x)
        averages.append((x[..., :channels] / (x[..., channels:] + TINY), x[..., channels:]))
    filled, _ = averages.pop()
    for colours, weight in reversed(averages):
        share = ops.clip(SURE * weight, 0.0, 1.0)
        filled = share * colours + (1.0 - share) * filled
    return ops.where(mask > 0.5, filled, image)  # a mask has no other values than 0 and 1


def move(image: Tensor, changes: Tensor) -> Tensor:
    """Moves each value of an image towards one of the two ends of its range.

    Args:
        image: float32 [N, H, W, C] in -1..1.
        changes: The same shape, -1..1: share of the way to -1 or to 1. 0 leaves the value as it is.

    Returns:
        float32 [N, H, W, C] in -1..1.
    """
    return image + ops.relu(changes) * (1.0 - image) - ops.relu(-changes) * (1.0 + image)
