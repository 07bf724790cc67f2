"""A chunk of images becomes records: what any process does that prepares images.

This module and what it imports are all that such a process loads, so that it starts soon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ganlib.data import tfrecord
from ganlib.data.conform import Colour, Fit, ImageStats, Resize, conform
from ganlib.data.fingerprints import fingerprint
from ganlib.data.loading import UnusableImageError
from ganlib.data.locations import ImageLocation
from ganlib.data.value_range import ValueRange
from ganlib.remote.file import RemoteError, first_line

NO_LABEL = -1

Chunk = Sequence[tuple[ImageLocation, int | None]]
"""Places of some images, and their labels."""


class ReadError(OSError):
    """This machine failed while it read an image, through no fault of the image."""


def read_error(stored: ImageLocation, error: OSError | MemoryError) -> ReadError:
    """Returns what is raised where this machine failed to read an image."""
    reason = error.strerror if isinstance(error, OSError) else "out of memory"
    return ReadError(f"an image cannot be read: {reason}. Received: image={first_line(stored)}")


class ConformOptions(NamedTuple):
    """What images are brought to; see `conform`."""

    size: int
    colour: Colour
    fit: Fit
    resize: Resize
    min_side: int
    values: ValueRange | None = None


class ChunkResult(NamedTuple):
    """What became of a chunk.

    Attributes:
        records: Those of the usable images.
        skipped: Why each of the others is none, by position.
        remarks: What conversions lost, and how often.
        stats: What the usable images were like.
        fingerprints: Those of the records' images, one behind the other.
    """

    records: bytes
    skipped: dict[int, str]
    remarks: Counter[str]
    stats: ImageStats
    fingerprints: bytes


def prepare_chunk(shape: ConformOptions, chunk: Chunk) -> ChunkResult:
    """Brings images to the configured shape and makes records of them.

    Raises:
        RemoteError: A bucket cannot be read.
        ReadError: This machine failed to read an image, or has too little memory.
    """
    records, skipped, remarks, stats, fingerprints = [], {}, Counter[str](), ImageStats(), []
    for position, (stored, label) in enumerate(chunk):
        try:
            image, lost = conform(
                stored.open,
                size=shape.size,
                colour=shape.colour,
                fit=shape.fit,
                resize=shape.resize,
                min_side=shape.min_side,
                values=shape.values,
                stats=stats,
            )
        except UnusableImageError as error:
            skipped[position] = str(error)
            continue
        except RemoteError:
            raise
        except (OSError, MemoryError) as error:
            raise read_error(stored, error) from error
        remarks.update(lost)
        pixels = image.tobytes()
        fingerprints.append(fingerprint(pixels))
        records.append(tfrecord.framed(tfrecord.example(pixels, NO_LABEL if label is None else label)))
        del image, pixels  # so that the next image takes their memory, which is still in the cache
    return ChunkResult(b"".join(records), skipped, remarks, stats, b"".join(fingerprints))
