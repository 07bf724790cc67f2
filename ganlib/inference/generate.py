"""Generates images with an exported model: PNG files, a sheet, and an animation from one image to the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from etils import epy

from ganlib import pixels, storage, streams
from ganlib.inference.functions import ExportedFunctions, LatentFunction
from ganlib.inference.outputs import check_output, save_png
from ganlib.progress import Progress

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

Animation = Literal["gif", "webp"]
BATCH = 100  # images of up to 128x128 pixels that the network makes at once; fewer of larger ones
SHEET, SHEET_PIXELS = 100, 2**25  # most images of a sheet, and most pixels of all of them
MILLISECONDS = 40  # of a frame
MOST_IMAGES, MOST_FRAMES = 10**6, 10**5  # of a command
MOST_FRAME_PIXELS = 2**29  # of all frames together, which Pillow holds in memory as RGB: 1.6 GB
MOST_DIGITS = 9  # of the index of a class, so that it fits in int32


@dataclass(frozen=True)
class Generated:
    """The result of `generate`.

    Attributes:
        count: Number of images.
        sheet: The sheet, if there is one.
        animation: The animation, if there is one.
    """

    count: int
    sheet: Path | None
    animation: Path | None


def generate(
    model: str,
    output: Path,
    *,
    count: int,
    seed: int = 0,
    label: str | None = None,
    truncation: float | None = None,
    sheet: bool = False,
    frames: int = 0,
    animation: Animation = "gif",
    overwrite: bool = False,
) -> Generated:
    """Writes images of random latents as PNG files.

    The images of a seed are those of the model's own function `generate`; the first ones do not depend on the count.

    Args:
        model: The exported model, a folder or an address in a bucket.
        output: Folder for the images.
        count: Number of images.
        seed: Chooses them, from 0 to 2**63 - 1.
        label: Name or index of the class of all images. Default: the classes take turns, if the model takes any.
        truncation: Limit of the absolute values of the latents; see `truncate`. Default: none.
        sheet: Whether the first images, at most 100 or 32 million pixels, are also written side by side as `sheet.png`.
        frames: Frames from one image to the next, and from the last one to the first, in an animation
            `interpolation.gif` or `interpolation.webp`; 0 for no animation. See `interpolate`.
        animation: The format of the animation: GIF has at most 256 colours, WebP is written without losses.
        overwrite: Whether existing files may be replaced.

    Raises:
        ValueError: The model makes images from something else, it has no such class, a number is too large, or the
            output exists.
        OSError: A file cannot be written.
        FunctionError: The model failed.
    """
    _check(count, frames, truncation)
    check_output(output, overwrite=overwrite)
    function = ExportedFunctions.open(model).from_latents()
    _check_frame_pixels(function, count * frames)
    labels = choose_labels(function, count, label, turns=not frames)
    if labels is not None and label is None:
        print(f"generate: the {len(function.classes)} classes take turns: {', '.join(function.classes)}", flush=True)
    normal = draw_latents(function, count, seed)
    first: list[NDArray[np.uint8]] = []
    height, width, _ = function.image_shape
    most = max(1, min(SHEET, SHEET_PIXELS // (height * width))) if sheet else 0
    digits = len(str(count - 1))
    progress = Progress("generate", total=count, unit="images")
    for index, image in enumerate(images(function, iter([normal]), labels, truncation, report=progress.update)):
        save_png(image, output / f"{index:0{digits}d}.png")
        if index < most:
            first.append(image)
    sheet_file = output / "sheet.png" if sheet else None
    if sheet_file is not None:
        pixels.save_grid(np.stack(first), sheet_file, columns=sheet_columns(function, len(first), label))
    file = output / f"interpolation.{animation}" if frames else None
    if file is not None:
        between = interpolate(normal, frames)
        shown = None if labels is None else np.repeat(labels[:1], count * frames)
        progress = Progress("interpolate", total=count * frames, unit="images")
        made = images(function, between, shown, truncation, report=progress.update)
        with storage.atomic_file(file) as temporary, temporary.open("wb") as stream:
            save_animation(made, stream, animation)
    return Generated(count, sheet_file, file)


def _check(count: int, frames: int, truncation: float | None) -> None:
    if count > MOST_IMAGES:
        raise ValueError(
            f"expected at most {MOST_IMAGES:,} images; take another seed for more. Received: count={count}"
        )
    if frames and count < 2:
        raise ValueError(f"an interpolation needs 2 images or more. Received: count={count}")
    if count * frames > MOST_FRAMES:
        raise ValueError(
            f"expected at most {MOST_FRAMES:,} frames in an animation. Received: {count} images with {frames} frames "
            "each"
        )
    if truncation is not None and not 0 < truncation < math.inf:
        raise ValueError(f"expected a finite number above 0 as truncation. Received: truncation={truncation}")


def _check_frame_pixels(function: LatentFunction, frames: int) -> None:
    height, width, _ = function.image_shape
    scale = pixels.enlargement(height)
    if frames * (size := height * width * scale**2) > MOST_FRAME_PIXELS:
        raise ValueError(
            f"expected at most {MOST_FRAME_PIXELS // size:,} frames of {width * scale}x{height * scale} pixels in an "
            f"animation. Received: {frames:,}"
        )


def draw_latents(function: LatentFunction, count: int, seed: int) -> NDArray[np.float32]:
    """Returns the latents of a seed, float32 [count, latent_dim]. The first ones do not depend on the count."""
    stream = streams.pair(seed, streams.key("sample latents"))
    latents: NDArray[np.float32] = tf.random.stateless_normal([count, function.latent_dim], stream).numpy()
    return latents


def truncate(latents: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Maps normal latents to normal latents within limits.

    The result has the distribution of values that are drawn again until their absolute value is at most the limit, the
    truncation trick of Brock, Donahue and Simonyan, "Large scale GAN training for high fidelity natural image
    synthesis" (2019). Each value keeps its rank (its quantile), so that the images of a seed stay alike for all limits.

    Args:
        latents: float32, values of the standard normal distribution.
        limit: Largest absolute value, greater than 0. A lower one gives more typical, less varied images.

    Returns:
        float32 of the same shape.
    """
    root = math.sqrt(2.0)
    share = tf.math.erf(tf.constant(latents, tf.float64) / root) * math.erf(limit / root)
    return np.clip(tf.math.erfinv(share).numpy() * root, -limit, limit).astype(np.float32)


def interpolate(latents: NDArray[np.float32], frames: int) -> Iterator[NDArray[np.float32]]:
    """Yields the latents on the way from each latent to the next, and from the last one back to the first.

    The way is `cos(a) z + sin(a) z'` with an angle from 0 to 90 degrees in equal steps. Each point of it is normally
    distributed as latents are, which is not so on a straight line.

    Args:
        latents: float32 [N, latent_dim].
        frames: Number of points from one latent to the next; the first one is the latent itself.

    Yields:
        float32 [frames, latent_dim] for each latent.
    """
    angles = np.arange(frames)[:, None] * (np.pi / 2 / frames)
    for here, there in zip(latents, np.roll(latents, -1, axis=0), strict=True):
        yield (np.cos(angles) * here + np.sin(angles) * there).astype(np.float32)


def choose_labels(
    function: LatentFunction, count: int, label: str | None, *, turns: bool = True
) -> NDArray[np.int64] | None:
    """Returns the class of each image, int64 [count]; None if the function takes none.

    Args:
        function: The function.
        count: Number of images.
        label: Name or index of the class of all images. Default: the classes take turns.
        turns: Whether they may take turns.

    Raises:
        ValueError: There is no such class.
    """
    classes = function.classes
    if not function.takes_label:
        if label is not None:
            raise ValueError(f"the model takes no class. Received: label={label}")
        return None
    if label is None and not classes:
        raise ValueError(
            "expected the index of a class, since this export does not name its classes. Received: no label"
        )
    if label is None and not turns:
        raise ValueError("an interpolation needs one class for all images. Received: no label")
    if label is None:
        return np.arange(count, dtype=np.int64) % len(classes)
    is_index = label.isdecimal() and len(label) <= MOST_DIGITS
    index = classes.index(label) if label in classes else int(label) if is_index else -1
    if index < 0 or (classes and index >= len(classes)):
        names = ", ".join(f"{number} = {name}" for number, name in enumerate(classes))
        raise ValueError(
            f"expected the name or the index of a class{f' ({names})' * bool(names)}. Received: label={label}"
        )
    return np.full(count, index, np.int64)


def images(
    function: LatentFunction,
    latents: Iterable[NDArray[np.float32]],
    labels: NDArray[np.int64] | None,
    truncation: float | None,
    *,
    report: Callable[[int], object] = lambda _: None,
) -> Iterator[NDArray[np.uint8]]:
    """Yields the image of each latent, uint8 [H, W, C].

    Args:
        function: The function.
        latents: Groups of latents, float32 [N, latent_dim].
        labels: The classes of all of them, int64; None for a function that takes none.
        truncation: See `truncate`.
        report: Called with the number of images so far.
    """
    size = pixels.batch_size(function.image_shape, limit=BATCH)
    done = 0
    for group in latents:
        for start in range(0, len(group), size):
            batch = group[start : start + size]
            if truncation is not None:
                batch = truncate(batch, truncation)
            yield from function(batch, None if labels is None else labels[done : done + len(batch)])
            done += len(batch)
            report(done)


def sheet_columns(function: LatentFunction, count: int, label: str | None) -> int:
    """Returns the images in a row of a sheet: one of each class, if there are a few, otherwise a square."""
    classes = len(function.classes) if label is None else 0
    return classes if 2 <= classes <= 20 else math.ceil(math.sqrt(count))


def save_animation(images: Iterator[NDArray[np.uint8]], file: IO[bytes], kind: Animation) -> None:
    """Writes an animation that repeats itself. Small images are enlarged for viewing."""

    def frame(image: NDArray[np.uint8]) -> Image.Image:
        return pixels.grid(image[None], columns=1, scale=pixels.enlargement(image.shape[0]))

    first = frame(next(images))
    first.save(
        file,
        format=kind,
        save_all=True,
        append_images=map(frame, images),
        duration=MILLISECONDS,
        loop=0,
        **({"lossless": True} if kind == "webp" else {}),
    )
