"""Images of seeds and walks between two of them, as the command `generate` makes them."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

from etils import epy
from pydantic import Field

from ganlib import pixels
from ganlib.inference.functions import LatentFunction
from ganlib.inference.generate import (
    Animation,
    choose_labels,
    draw_latents,
    images,
    interpolate,
    save_animation,
    sheet_columns,
)
from ganlib.schema import Config

with epy.lazy_imports():
    import numpy as np
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_IMAGES, MOST_FRAMES = 100, 120
MOST_PIXELS = 2**25  # of all images that a request makes

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Choice(Config):
    """What both kinds of images have in common."""

    seed: Seed = 0
    """Chooses the images."""
    label: str | None = None
    """Name or index of the class of all images. Default: the classes take turns."""
    truncation: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest absolute value of the latents; see `ganlib.inference.generate.truncate`."""


class ImagesChoice(Choice):
    """Images of a seed: the first ones that `gan-pipelines generate` makes of it."""

    count: int = Field(default=16, ge=1, le=MOST_IMAGES)
    """Number of images."""


class WalkChoice(Choice):
    """The images on the way from the first image of a seed to that of another."""

    to: Seed = 1
    """The other seed."""
    frames: int = Field(default=24, ge=2, le=MOST_FRAMES)
    """Number of images, both ends included."""


def seed_images(function: LatentFunction, choice: ImagesChoice) -> NDArray[np.uint8]:
    """Returns images of a seed, uint8 [N, H, W, C].

    Raises:
        ValueError: There is no such class, or there are too many pixels.
        FunctionError: The model failed.
    """
    _check_pixels(function, choice.count)
    labels = choose_labels(function, choice.count, choice.label)
    latents = draw_latents(function, choice.count, choice.seed)
    return np.stack(list(images(function, [latents], labels, choice.truncation)))


def walk(function: LatentFunction, choice: WalkChoice) -> Iterator[NDArray[np.uint8]]:
    """Yields the pictures of a walk, uint8 [H, W, C]: an image each, or without a choice of a class one of each class.

    Both ends have the same class, since there is nothing between two classes. The way is that of `interpolate`.

    Raises:
        ValueError: There is no such class, or there are too many pixels.
        FunctionError: The model failed.
    """
    classes = max(1, len(function.classes)) if choice.label is None else 1
    _check_pixels(function, classes * choice.frames)
    ends = np.concatenate([draw_latents(function, 1, seed) for seed in (choice.seed, choice.to)])
    to_second, to_first = interpolate(ends, choice.frames - 1)
    latents = np.repeat(np.concatenate([to_second, to_first[:1]]), classes, axis=0)
    labels = choose_labels(function, len(latents), choice.label)
    made = images(function, [latents], labels, choice.truncation)
    columns = sheet_columns(function, classes, choice.label)
    for _ in range(choice.frames):
        frame = np.asarray(pixels.grid(np.stack([next(made) for _ in range(classes)]), columns=columns))
        yield frame.reshape(*frame.shape[:2], -1)


def animation(function: LatentFunction, choice: WalkChoice, kind: Animation) -> bytes:
    """Returns a walk as an animation that repeats itself, there and back."""
    frames = list(walk(function, choice))
    file = io.BytesIO()
    save_animation(iter(frames + frames[-2:0:-1]), file, kind)
    return file.getvalue()


def archive(function: LatentFunction, choice: ImagesChoice) -> bytes:
    """Returns a zip file with the images of a seed, which have the names that `generate` gives them."""
    made = seed_images(function, choice)
    digits, file = len(str(len(made) - 1)), io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:  # PNG is compressed already
        for index, image in enumerate(made):
            packed.writestr(f"{index:0{digits}d}.png", png(image))
    return file.getvalue()


def sheet(function: LatentFunction, choice: ImagesChoice) -> bytes:
    """Returns the images of a seed side by side, a PNG file."""
    made = seed_images(function, choice)
    columns = sheet_columns(function, len(made), choice.label)
    return _saved(pixels.grid(made, columns=columns, scale=pixels.enlargement(max(made.shape[1:3]))))


def addresses(pictures: Iterable[NDArray[np.uint8]]) -> dict[str, list[str]]:
    """Returns pictures as the page takes them: PNG files in addresses (data URLs), for JSON."""
    return {"images": [f"data:image/png;base64,{base64.b64encode(png(one)).decode()}" for one in pictures]}


def png(image: NDArray[np.uint8], *, profile: bytes | None = None) -> bytes:
    """Returns an image uint8 [H, W, C] as a PNG file, with its colour profile."""
    return _saved(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), profile)


def _saved(picture: Image.Image, profile: bytes | None = None) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", icc_profile=profile)
    return file.getvalue()


def _check_pixels(function: LatentFunction, count: int) -> None:
    height, width, _ = function.image_shape
    most = MOST_PIXELS // (height * width)
    if count > most:
        raise ValueError(f"expected at most {most} images of {width}x{height} pixels at once. Received: images={count}")
