"""Converts a chunk of images into records. This is the work of each worker process.

A worker imports only this module and its dependencies, so that it starts fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from ganlib.data import tfrecord
from ganlib.data.conform import Colour, Fit, ImageStats, Resize, conform, conform_pair
from ganlib.data.fingerprints import fingerprint
from ganlib.data.loading import UnusableImageError
from ganlib.data.locations import ImageLocation
from ganlib.data.pairs import PairLocation
from ganlib.data.value_range import ValueRange
from ganlib.remote.file import RemoteError, first_line

if TYPE_CHECKING:
    from PIL import Image

NO_LABEL = -1

Chunk = Sequence[tuple[ImageLocation, int | None]]
"""Locations of some images, or of pairs, and their labels."""


class ReadError(OSError):
    """This machine failed to read an image, although the image may be fine."""


def read_error(location: ImageLocation, error: OSError | MemoryError) -> ReadError:
    """Returns the error to raise if this machine failed to read an image."""
    reason = error.strerror if isinstance(error, OSError) else "out of memory"
    return ReadError(f"an image cannot be read: {reason}. Received: image={first_line(location)}")


class ConformOptions(NamedTuple):
    """How images are converted; see `conform` and `conform_pair` for the fields. The locations may be of pairs."""

    size: tuple[int, int]
    colour: Colour
    fit: Fit
    resize: Resize
    min_side: int
    values: ValueRange | None = None
    paired: bool = False
    target_values: ValueRange | None = None
    target_resize: Resize | None = None


class ChunkResult(NamedTuple):
    """The result of preparing a chunk.

    Attributes:
        records: Records of the usable images.
        skipped: The reasons why the other images are unusable, by position in the chunk.
        remarks: Number of images by lossy conversion.
        stats: Statistics of the usable originals.
        fingerprints: Fingerprints of the usable images or pairs, concatenated.
        target_stats: Statistics of the usable targets.
    """

    records: bytes
    skipped: dict[int, str]
    remarks: Counter[str]
    stats: ImageStats
    fingerprints: bytes
    target_stats: ImageStats


def prepare_chunk(options: ConformOptions, chunk: Chunk) -> ChunkResult:
    """Converts images as configured and serializes them as records.

    Raises:
        RemoteError: A bucket cannot be read.
        ReadError: This machine failed to read an image, or has too little memory.
    """
    records, skipped, remarks, fingerprints = [], {}, Counter[str](), []
    stats = ImageStats(), ImageStats()
    for position, (location, label) in enumerate(chunk):
        try:
            images, lost = _conform(options, location, stats)
        except UnusableImageError as error:
            skipped[position] = str(error)
            continue
        except RemoteError:
            raise
        except (OSError, MemoryError) as error:
            raise read_error(location, error) from error
        remarks.update(lost)
        pixels, *target = (image.tobytes() for image in images)
        fingerprints.append(fingerprint(b"".join((pixels, *target)) if target else pixels))
        records.append(tfrecord.frame(tfrecord.example(pixels, NO_LABEL if label is None else label, *target)))
        del images, pixels, target  # the next image can then reuse their memory, which is still in the cache
    return ChunkResult(b"".join(records), skipped, remarks, stats[0], b"".join(fingerprints), stats[1])


def _conform(
    options: ConformOptions, location: ImageLocation, stats: tuple[ImageStats, ImageStats]
) -> tuple[list[Image.Image], list[str]]:
    """Converts an image, or an image and its target, and adds the originals to their statistics."""
    if options.paired:
        return conform_pair(
            cast("PairLocation", location).load,
            size=options.size,
            colour=options.colour,
            fit=options.fit,
            resize=(options.resize, options.target_resize or options.resize),
            min_side=options.min_side,
            values=(options.values, options.target_values),
            stats=stats,
        )
    image, lost = conform(
        location.open,
        size=options.size,
        colour=options.colour,
        fit=options.fit,
        resize=options.resize,
        min_side=options.min_side,
        values=options.values,
        stats=stats[0],
    )
    return [image], lost
