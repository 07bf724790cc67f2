"""The one place where pixels change their range, and where images become a picture.

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


def to_model_range(images: Any) -> Any:
    """Maps uint8 0..255 [N, H, W, C] to float32 -1..1."""
    return tf.cast(images, tf.float32) / HALF_RANGE - 1.0


def to_uint8(images: Any) -> Any:
    """Maps floats in -1..1 [N, H, W, C] to uint8 0..255, rounding half to even and clipping."""
    scaled = tf.round((tf.cast(images, tf.float32) + 1.0) * HALF_RANGE)
    return tf.cast(tf.clip_by_value(scaled, 0.0, 255.0), tf.uint8)


def grid(images: NDArray[np.uint8], *, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Lays images out row by row on a white sheet.

    Args:
        images: uint8 [N, H, W, C] with one or three channels.
        columns: Images in a row.
        scale: Whole-number enlargement, each pixel becoming a square.
        gap: White pixels between two images.

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
    """Returns the whole-number scale at which small images can be looked at."""
    return max(1, 56 // size)


def save_grid(images: NDArray[np.uint8], path: Path, *, columns: int) -> None:
    """Writes images uint8 [N, H, W, C] as one PNG sheet, small ones enlarged so that they can be looked at."""
    save_picture(grid(images, columns=columns, scale=enlargement(images.shape[1])), path)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file that is whole or absent."""
    with storage.atomic_file(path) as temporary:
        picture.save(temporary, format="PNG")


def as_html(path: Path, *, caption: str) -> str:
    """Returns a page that holds a PNG picture and nothing else to load."""
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'
