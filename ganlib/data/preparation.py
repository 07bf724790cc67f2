"""The pipeline step `prepare`: writes any source as one dataset of images of one size, at once or in parts.

Both ways call the same two functions, `parts.write` and `manifest.finish`, and so write the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ganlib import storage
from ganlib.data.base import Listing
from ganlib.data.config import DataConfig
from ganlib.data.description import print_description
from ganlib.data.image_chunks import ReadError
from ganlib.data.manifest import Origin, TooManyUnusableError, finish
from ganlib.data.part import PART_FILE, PART_FORMAT, Part, shards_of
from ganlib.data.parts import shard, write
from ganlib.data.records import PreparedDataset
from ganlib.data.value_survey import survey
from ganlib.environment import escape_output


@escape_output()
def with_fingerprint(config: DataConfig) -> DataConfig:
    """Returns the settings with the checksum of the list of images, so that changed images are prepared again.

    Prints the description of the images. Of an archive or another file on a server, it neither downloads nor describes
    anything: the fingerprint is then what the server reports, its size, and its checksum or time of change.

    Raises:
        ValueError: The source has no usable images.
        OSError: The server of the images cannot be reached.
    """
    if config.fingerprint is not None:
        return config
    fingerprint = config.source.remote_version
    if fingerprint is None:
        listing, _ = list_images(config)
        fingerprint = listing.checksum(with_times=True)
    return config.model_copy(update={"fingerprint": fingerprint})


@escape_output()
def prepare(config: DataConfig, output: Path) -> PreparedDataset:
    """Writes a source's images as TFRecord shards, with a manifest and a preview picture.

    Large sets are read by one process per core; the result is the same.

    Args:
        config: Settings of the preparation.
        output: Folder to create atomically.

    Returns:
        The dataset in `output`.

    Raises:
        ValueError: The source has no usable images, or too many images were skipped.
        OSError: The disk is full or not writable, or the source can no longer be read.
        RuntimeError: A process that read images was killed.
    """
    listing, origin = list_images(config)
    with output_folder(output) as folder:
        slices = write(config, listing, range(config.shards), folder, origin.ranges)
        finish(config, origin, slices, folder, lambda: listing)
    return PreparedDataset.open(output)


@escape_output()
def prepare_part(config: DataConfig, output: Path, *, part: int, of: int) -> Part:
    """Writes one part of what `prepare` would write, for `merge_parts`: a share of the shards, one after the other.

    Args:
        config: Settings of the preparation.
        output: Folder to create atomically.
        part: Number of the part, from 0.
        of: Number of parts, at most `config.shards`.

    Returns:
        The content of the part.

    Raises:
        ValueError: The source has no usable images, or `part` and `of` do not match the settings.
        OSError: The disk is full or not writable.
        RuntimeError: A process that read images was killed.
    """
    if config.shards < of:
        raise ValueError(
            f"expected data.shards of at least {of}, so that each task of the pipeline has one. "
            f"Received: shards={config.shards}"
        )
    if not 0 <= part < of:
        raise ValueError(f"expected a part from 0 to {of - 1}. Received: part={part}")
    listing, origin = list_images(config)
    with output_folder(output) as folder:
        slices = write(config, listing, shards_of(config, part, of), folder, origin.ranges)
        test = shard(folder, "test", 0, config)
        sha256 = storage.sha256(test) if test.exists() else None
        content = Part(PART_FORMAT, part, of, config.to_parameter(), origin, slices, sha256)
        storage.write_json(folder / PART_FILE, asdict(content))
    return content


def list_images(config: DataConfig) -> tuple[Listing, Origin]:
    """Returns the listing of the source and the facts about it.

    Prints its description, unless that was done where the fingerprint was filled in.
    """
    listing = config.source.listing()
    listing.check_splits()
    origin = Origin.of(listing, survey(listing, config.value_range))
    if config.fingerprint is None or config.fingerprint != listing.checksum(with_times=True):
        print_description(origin.description)
    return listing, origin


@contextlib.contextmanager
def output_folder(output: Path) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `output` at the end. Says what could not be written, and why."""
    try:
        with storage.atomic_folder(output) as folder:
            yield folder
    except TooManyUnusableError as error:
        place = output.with_name(f"{output.name}-skipped.json")
        storage.write_json(place, error.skipped)
        raise ValueError(f"{error}, all={str(place)!r}") from error
    except (storage.RemoteError, ReadError):  # raised while reading
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"cannot write prepared images: {reason}. Received: output={str(output)!r}") from error
