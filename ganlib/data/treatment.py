"""A chunk of images becomes records: what any process does that prepares images.

This module and what it imports are all that such a process loads, so that it starts soon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ganlib.data import tfrecord
from ganlib.data.conform import Colour, Fit, Resize, UnusableImageError, conform
from ganlib.data.stored import Stored
from ganlib.remote.file import RemoteError, first_line

NO_LABEL = -1

Chunk = Sequence[tuple[Stored, int | None]]
"""Places of some images, and their labels."""


class ReadError(OSError):
    """This machine failed while it read an image, through no fault of the image."""


class Shape(NamedTuple):
    """What images are brought to; see `conform`."""

    size: int
    colour: Colour
    fit: Fit
    resize: Resize
    min_side: int


class Treated(NamedTuple):
    """What became of a chunk: the records of the usable images, and why each of the others is none, by position."""

    records: bytes
    refusals: dict[int, str]
    remarks: Counter[str]


def treat(shape: Shape, chunk: Chunk) -> Treated:
    """Brings images to the configured shape and makes records of them.

    Raises:
        RemoteError: A bucket cannot be read.
        ReadError: This machine failed to read an image, or has too little memory.
    """
    records, refusals, remarks = [], {}, Counter[str]()
    for position, (stored, label) in enumerate(chunk):
        try:
            image, lost = conform(
                stored.open,
                size=shape.size,
                colour=shape.colour,
                fit=shape.fit,
                resize=shape.resize,
                min_side=shape.min_side,
            )
        except UnusableImageError as error:
            refusals[position] = str(error)
            continue
        except RemoteError:
            raise
        except (OSError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "out of memory"
            raise ReadError(f"an image cannot be read: {reason}. Received: image={first_line(stored)}") from error
        remarks.update(lost)
        records.append(tfrecord.framed(tfrecord.example(image.tobytes(), NO_LABEL if label is None else label)))
    return Treated(b"".join(records), refusals, remarks)
