"""DiffAugment: discriminators see each image changed at random, so that they cannot memorise few images.

Zhao, Liu, Lin, Zhu and Han 2020, "Differentiable Augmentation for Data-Efficient GAN Training" (arXiv:2006.10738).
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Literal

from etils import epy

from ganlib.tasks import Match

with epy.lazy_imports():
    import tensorflow as tf

IMAGE_RANK = 4
Transform = Literal["colour", "translation", "cutout"]
NUMBERS = 7
"""Random numbers for each image: brightness, saturation, contrast, shift y, shift x, hole y, hole x."""


def augment_match(
    match: Match, real_numbers: tf.Tensor, fake_numbers: tf.Tensor, *, transforms: Collection[Transform]
) -> Match:
    """Changes the images of a match.

    Args:
        match: The match.
        real_numbers: Random numbers for the real images, float32 [N, 7] in [0, 1).
        fake_numbers: The same for the fake images. A condition that is an image belongs to both, so with one all images
            are changed by the first numbers.
        transforms: Changes to make.
    """
    images = {key for key, value in match.condition.items() if value.shape.rank == IMAGE_RANK}
    if images:
        fake_numbers = real_numbers
    real = functools.partial(augment, numbers=real_numbers, transforms=transforms)
    fake = functools.partial(augment, numbers=fake_numbers, transforms=transforms)
    moves = [transform for transform in transforms if transform != "colour"]  # of places, which have no colour
    return Match(
        real=real(match.real),
        fake=fake(match.fake),
        condition={key: real(value) if key in images else value for key, value in match.condition.items()},
        weight=match.weight,
        pooled=None if match.pooled is None else fake(match.pooled),
        generated=None if match.generated is None else augment(match.generated, fake_numbers, transforms=moves),
    )


def augment(images: tf.Tensor, numbers: tf.Tensor, *, transforms: Collection[Transform]) -> tf.Tensor:
    """Changes each image by its own random numbers, in the order of the paper. Gradients flow to the images.

    Args:
        images: float32 [N, H, W, C], about -1..1. Grey ones (C = 1) keep their colour.
        numbers: float32 [N, 7] in [0, 1), see `NUMBERS`. They are drawn with the global batch, so that they do not
            depend on replicas, and always all seven, so that adding a transform does not change the draws of another.
        transforms: Changes to make.

    Returns:
        float32 [N, H, W, C]; colour may leave -1..1.
    """
    brightness, saturation, contrast, *places = tf.unstack(numbers, NUMBERS, axis=1)
    if "colour" in transforms and images.shape[-1] > 1:
        images = _change_colour(images, brightness, saturation, contrast)
    if "translation" in transforms:
        images = _translate(images, *_shifts(images, *places[:2]))
    if "cutout" in transforms:
        images = _cut_out(images, *places[2:])
    return images


def _change_colour(images: tf.Tensor, brightness: tf.Tensor, saturation: tf.Tensor, contrast: tf.Tensor) -> tf.Tensor:
    """Adds -0.5..0.5; scales distances from each pixel's mean by 0..2, from the image's mean by 0.5..1.5."""
    images += _per_image(brightness - 0.5)
    pixel_mean = tf.reduce_mean(images, axis=3, keepdims=True)
    images = (images - pixel_mean) * _per_image(2.0 * saturation) + pixel_mean
    image_mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - image_mean) * _per_image(contrast + 0.5) + image_mean


def _shifts(images: tf.Tensor, *numbers: tf.Tensor) -> list[tf.Tensor]:
    """Whole pixels down and to the right, int32 [N] each, up to an eighth of the side either way."""
    shifts = []
    for side, number in zip(images.shape[1:3], numbers, strict=True):
        limit = (side + 4) // 8  # an eighth, rounded
        shifts.append(_whole(number, 2 * limit + 1) - limit)
    return shifts


def _translate(images: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Moves each image by int32 [N] pixels and fills up with zeros.

    It gathers pixels, since a product with shift matrices would round them under TF32. The gradient is the move back.
    It gathers too, where TensorFlow's own gradient would scatter.
    """

    def move(images: tf.Tensor) -> tuple[tf.Tensor, object]:
        for axis, shift in ((1, down), (2, right)):
            side = images.shape[axis]
            source = tf.range(side) - shift[:, None]  # int32 [N, side]
            inside = tf.logical_and(source >= 0, source < side)
            moved = tf.gather(images, tf.clip_by_value(source, 0, side - 1), axis=axis, batch_dims=1)
            inside = tf.expand_dims(inside[..., None], 3 - axis)
            images = tf.where(inside, moved, 0.0)
        return images, lambda gradient: _translate(gradient, -down, -right)

    return tf.custom_gradient(move)(images)


def _cut_out(images: tf.Tensor, *numbers: tf.Tensor) -> tf.Tensor:
    """Sets a hole of half the side to zero; its centre is anywhere in the image, so part of it may be outside."""
    within = []
    for side, number in zip(images.shape[1:3], numbers, strict=True):
        hole = (side + 1) // 2
        # The centre of an even hole is between two pixels, so there is one place more than there are pixels.
        begin = _whole(number, side + 1 - hole % 2) - hole // 2
        offset = tf.range(side) - begin[:, None]  # int32 [N, side]
        within.append(tf.logical_and(offset >= 0, offset < hole))
    return tf.where(tf.logical_and(within[0][:, :, None, None], within[1][:, None, :, None]), 0.0, images)


def _whole(number: tf.Tensor, count: int) -> tf.Tensor:
    """Turns float32 [N] in [0, 1) into int32 [N] in 0..count-1."""
    return tf.cast(number * count, tf.int32)


def _per_image(number: tf.Tensor) -> tf.Tensor:
    return number[:, None, None, None]
