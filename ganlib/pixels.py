"""Converts pixel ranges, and arranges images in a picture.

Images are uint8 in 0..255 on disk and in every score, and floats in -1..1 inside the networks.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF_RANGE = 127.5
FULL_BATCH_PIXELS = 128 * 128  # of an image up to which batches are full


def batch_size(image_shape: tuple[int, ...], *, limit: int) -> int:
    """Returns how many images a network takes at once, so that large images do not fill the memory.

    Args:
        image_shape: Height, width and channels.
        limit: The number for images of up to 128x128 pixels. Of larger ones there are fewer, with as many pixels.
    """
    return max(1, min(limit, limit * FULL_BATCH_PIXELS // (image_shape[0] * image_shape[1])))


def to_model_range(images: Any) -> Any:
    """Maps uint8 0..255 [N, H, W, C] to float32 -1..1."""
    return tf.cast(images, tf.float32) / HALF_RANGE - 1.0


def to_uint8(images: Any) -> Any:
    """Maps floats in -1..1 [N, H, W, C] to uint8 0..255, rounding half to even and clipping."""
    scaled = tf.round((tf.cast(images, tf.float32) + 1.0) * HALF_RANGE)
    return tf.cast(tf.clip_by_value(scaled, 0.0, 255.0), tf.uint8)


def grid(images: NDArray[np.uint8], *, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Arranges images row by row on a white sheet.

    Args:
        images: uint8 [N, H, W, C] with one or three channels.
        columns: Number of images in a row.
        scale: Integer factor by which the picture is enlarged.
        gap: Width of the white space between images in pixels, before enlargement.

    Returns:
        A grey or RGB picture.
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def enlargement(size: int) -> int:
    """Returns the integer factor by which small images are enlarged for viewing."""
    return max(1, 56 // size)


def save_grid(images: NDArray[np.uint8], path: Path, *, columns: int) -> None:
    """Writes images uint8 [N, H, W, C] as one PNG sheet. Small images are enlarged for viewing."""
    save_picture(grid(images, columns=columns, scale=enlargement(max(images.shape[1:3]))), path)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file atomically."""
    with storage.atomic_file(path) as temporary:
        picture.save(temporary, format="PNG")


def as_html(path: Path, *, caption: str) -> str:
    """Returns a self-contained HTML figure with a PNG picture."""
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'
