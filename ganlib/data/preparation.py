"""The pipeline step `prepare`: writes any source as one dataset of images of one size, at once or in parts.

Both ways call the same two functions, `parts.write` and `manifest.finish`, and so write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganlib import storage
from ganlib.data.base import Listing, Split
from ganlib.data.config import DataConfig
from ganlib.data.description import print_description
from ganlib.data.fingerprints import SIZE
from ganlib.data.image_chunks import ReadError
from ganlib.data.manifest import Origin, TooManyUnusableError, finish
from ganlib.data.parts import SplitResult, fingerprints, shard, write
from ganlib.data.records import PreparedDataset
from ganlib.data.value_survey import survey
from ganlib.environment import escape_output
from ganlib.schema import parse

PART_FILE = "part.json"
PART_FORMAT = "gan-pipelines/part@4"


@dataclass(frozen=True)
class Part:
    """The content of a part's `part.json`.

    Attributes:
        format: Format of the file.
        number: Number of the part, from 0.
        config: The settings that it was made with.
        origin: Facts about the listing that it was made from.
        slices: The results for its images.
    """

    format: str
    number: int
    config: dict[str, Any]
    origin: Origin
    slices: dict[Split, SplitResult]

    @property
    def summary(self) -> dict[str, Any]:
        """The metadata of the KFP artifact of this part."""
        return {
            "part": self.number,
            "train": self.slices["train"].count,
            "test": self.slices["test"].count,
            "skipped": sum(len(result.skipped) for result in self.slices.values()),
        }


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
    listing, origin = _listing(config)
    with _output_folder(output) as folder:
        slices = write(config, listing, range(config.shards), folder, origin.ranges)
        finish(config, origin, slices, folder, lambda: listing)
    return PreparedDataset.open(output)


@escape_output()
def prepare_part(config: DataConfig, output: Path, *, part: int, of: int) -> Part:
    """Writes one part of what `prepare` would write, for `merge_parts`.

    Args:
        config: Settings of the preparation; `shards` is the number of parts.
        output: Folder to create atomically.
        part: Number of the part, from 0.
        of: The number of parts that the caller makes, which must equal `config.shards`.

    Returns:
        The content of the part.

    Raises:
        ValueError: The source has no usable images, or `part` and `of` do not match the settings.
        OSError: The disk is full or not writable.
        RuntimeError: A process that read images was killed.
    """
    if config.shards != of:
        raise ValueError(
            f"expected data.shards={of}, one for each task of the pipeline. Received: shards={config.shards}"
        )
    if not 0 <= part < of:
        raise ValueError(f"expected a part from 0 to {of - 1}. Received: part={part}")
    listing, origin = _listing(config)
    with _output_folder(output) as folder:
        [results] = write(config, listing, [part], folder, origin.ranges)
        if results["test"].count:
            results["test"].sha256 = storage.sha256(shard(folder, "test", 0, config))
        content = Part(PART_FORMAT, part, config.to_parameter(), origin, results)
        storage.write_json(folder / PART_FILE, asdict(content))
    return content


@escape_output()
def merge_parts(config: DataConfig, parts: Sequence[Path], output: Path) -> PreparedDataset:
    """Merges all parts into the dataset that `prepare` would have written.

    No image is read, except to replace unusable ones. Shards are verified by their hash, and hard-linked into the
    dataset if the file system allows it.

    Args:
        config: The settings that the parts were made with.
        parts: Folders of the parts, in any order.
        output: Folder to create atomically.

    Returns:
        The dataset in `output`.

    Raises:
        ValueError: The parts do not belong together, or too many images were skipped.
        OSError: The disk is full or not writable.
        RuntimeError: A process that read images was killed.
    """
    contents = {folder: _open_part(folder) for folder in parts}
    folders = sorted(contents, key=lambda folder: contents[folder].number)
    ordered = [contents[folder] for folder in folders]
    _check(config, ordered)
    origin = ordered[0].origin

    def listing() -> Listing:
        current, current_origin = _listing(config)
        if current_origin != origin:
            raise ValueError(f"the images have changed since the parts were made. Received: {config.source}")
        return current

    with _output_folder(output) as folder:
        for part, part_folder in zip(ordered, folders, strict=True):
            _add_part(config, part, part_folder, folder)
        finish(config, origin, [part.slices for part in ordered], folder, listing)
    return PreparedDataset.open(output)


def _listing(config: DataConfig) -> tuple[Listing, Origin]:
    """Returns the listing of the source and the facts about it.

    Prints its description, unless the run that filled in the fingerprint already did.
    """
    listing = config.source.listing()
    listing.check_splits()
    origin = Origin.of(listing, survey(listing, config.value_range))
    if config.fingerprint is None:
        print_description(origin.description)
    return listing, origin


def _open_part(folder: Path) -> Part:
    content = storage.read_json(folder / PART_FILE)
    try:
        part: Part = parse(Part, content)
    except ValidationError as error:
        raise ValueError(f"expected a complete {PART_FILE}. Received: folder={str(folder)!r}") from error
    if part.format != PART_FORMAT:
        raise ValueError(f"expected a part of format {PART_FORMAT}. Received: format={part.format!r}")
    return part


def _check(config: DataConfig, parts: Sequence[Part]) -> None:
    """Checks that the parts form one dataset with these settings."""
    expected = config.to_parameter()
    for part in parts:
        for name in sorted(expected.keys() | part.config.keys()):
            if part.config.get(name) != expected.get(name):
                raise ValueError(
                    f"expected parts made with data.{name}={expected.get(name)!r}. "
                    f"Received: {part.config.get(name)!r} in part {part.number}"
                )
        ranges = [one.origin.values.text if one.origin.values else "0..255" for one in (part, parts[0])]
        if ranges[0] != ranges[1]:
            raise ValueError(
                "expected parts with the same range of values; the images have changed between them. "
                f"Received: {ranges[0]} in part {part.number}, {ranges[1]} in {parts[0].number}"
            )
        if part.origin != parts[0].origin:
            raise ValueError(
                "expected parts of one listing; the images have changed between them. "
                f"Received: {part.origin.sha256} in part {part.number}, {parts[0].origin.sha256} in {parts[0].number}"
            )
    numbers = [part.number for part in parts]
    if numbers != list(range(config.shards)):
        raise ValueError(f"expected each part from 0 to {config.shards - 1} once. Received: parts={numbers}")


def _add_part(config: DataConfig, part: Part, part_folder: Path, folder: Path) -> None:
    """Adds the records of a part: its training images are a shard, its test images are appended to one."""
    for split, result in part.slices.items():
        number = part.number if split == "train" else 0
        source, target = (shard(path, split, number, config) for path in (part_folder, folder))
        if not result.count:
            continue
        sizes = {source: result.bytes, fingerprints(source): SIZE * result.count}
        for path, size in sizes.items():
            if not path.exists() or path.stat().st_size != size:
                raise ValueError(f"the shard {path.name} is missing or cut off. Received: folder={str(part_folder)!r}")
        if result.sha256 != storage.sha256(source):
            raise ValueError(
                f"the shard {source.name} is not the one that its part wrote. Received: folder={str(part_folder)!r}"
            )
        _append(fingerprints(source), fingerprints(target))
        if split == "test":
            _append(source, target)
            continue
        try:
            os.link(source, target)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, target)


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as content, target.open("ab") as file:
        shutil.copyfileobj(content, file)


@contextlib.contextmanager
def _output_folder(output: Path) -> Iterator[Path]:
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
