"""The verb `prepare`: any source becomes one dataset of equal images on disk, at once or in parts.

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
from ganlib.data.manifest import Origin, finish
from ganlib.data.parts import SplitResult, fingerprints, shard, write
from ganlib.data.records import PreparedDataset
from ganlib.data.value_survey import survey
from ganlib.schema import parse
from ganlib.surroundings import printable

PART_FILE = "part.json"
PART_FORMAT = "gan-pipelines/part@3"


@dataclass(frozen=True)
class Part:
    """What a part tells of itself in its `part.json`.

    Attributes:
        format: That of the file.
        number: Which part, from 0.
        config: The settings that it was made with.
        origin: The listing that it was made from.
        slices: What became of its images.
    """

    format: str
    number: int
    config: dict[str, Any]
    origin: Origin
    slices: dict[Split, SplitResult]

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this part says of it."""
        return {
            "part": self.number,
            "train": self.slices["train"].count,
            "test": self.slices["test"].count,
            "skipped": sum(len(made.skipped) for made in self.slices.values()),
        }


@printable()
def prepare(config: DataConfig, output: Path) -> PreparedDataset:
    """Writes a source's images as TFRecord shards, with a manifest and a preview picture.

    As many processes read them as there are cores, where that pays; the bytes are the same.

    Args:
        config: Source and shape.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The dataset in `output`.

    Raises:
        ValueError: The source holds nothing usable, or too many images had to be skipped.
        OSError: The disk is full or not writable, or the source cannot be read any more.
        RuntimeError: A process that read images was killed.
    """
    listing, origin = _listing(config)
    with _whole(output) as folder:
        slices = write(config, listing, range(config.shards), folder, origin.values)
        finish(config, origin, slices, folder, lambda: listing)
    return PreparedDataset.open(output)


@printable()
def prepare_part(config: DataConfig, output: Path, *, part: int, of: int) -> Part:
    """Writes one part of what `prepare` would write, for `merge_parts`.

    Args:
        config: Source and shape; `shards` is the number of parts.
        output: Folder to create; it appears whole or not at all.
        part: Number of the part, from 0.
        of: How many parts the caller makes, which must be `config.shards`.

    Returns:
        What the part holds.

    Raises:
        ValueError: The source holds nothing, or the parts are others than the settings say.
        OSError: The disk is full or not writable.
        RuntimeError: A process that read images was killed.
    """
    if config.shards != of:
        raise ValueError(
            f"expected data.shards={of}, the parts that there are tasks for. Received: shards={config.shards}"
        )
    if not 0 <= part < of:
        raise ValueError(f"expected a part from 0 to {of - 1}. Received: part={part}")
    listing, origin = _listing(config)
    with _whole(output) as folder:
        [slices] = write(config, listing, [part], folder, origin.values)
        if slices["test"].count:
            slices["test"].sha256 = storage.sha256(shard(folder, "test", 0, config))
        made = Part(PART_FORMAT, part, config.to_parameter(), origin, slices)
        storage.write_json(folder / PART_FILE, asdict(made))
    return made


@printable()
def merge_parts(config: DataConfig, parts: Sequence[Path], output: Path) -> PreparedDataset:
    """Makes of all parts the dataset that `prepare` would have written.

    No image is read, unless some have to take the place of those that could not be used. Shards are checked by their
    hash, and linked into the dataset where the file system can do that.

    Args:
        config: What the parts were made with.
        parts: Their folders, in any order.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The dataset in `output`.

    Raises:
        ValueError: The parts do not belong together, or too many images had to be skipped.
        OSError: The disk is full or not writable.
        RuntimeError: A process that read images was killed.
    """
    folders = {folder: _opened(folder) for folder in parts}
    places = sorted(folders, key=lambda folder: folders[folder].number)
    found = [folders[folder] for folder in places]
    _check(config, found)
    origin = found[0].origin

    def listing() -> Listing:
        now, present = _listing(config)
        if present != origin:
            raise ValueError(f"the images have changed since the parts were made. Received: {config.source}")
        return now

    with _whole(output) as folder:
        for part, place in zip(found, places, strict=True):
            _take(config, part, place, folder)
        finish(config, origin, [part.slices for part in found], folder, listing)
    return PreparedDataset.open(output)


def _listing(config: DataConfig) -> tuple[Listing, Origin]:
    """Returns the images of the source and what is to be known of them all before one is prepared.

    Says so, unless the run that filled the fingerprint in has done it.
    """
    listing = config.source.listing()
    listing.check_splits()
    origin = Origin.of(listing, survey(listing, config.value_range))
    if config.fingerprint is None:
        print_description(origin.description)
    return listing, origin


def _opened(folder: Path) -> Part:
    content = storage.read_json(folder / PART_FILE)
    try:
        part: Part = parse(Part, content)
    except ValidationError as error:
        raise ValueError(f"expected a whole {PART_FILE}. Received: folder={str(folder)!r}") from error
    if part.format != PART_FORMAT:
        raise ValueError(f"expected a part of format {PART_FORMAT}. Received: format={part.format!r}")
    return part


def _check(config: DataConfig, parts: Sequence[Part]) -> None:
    """Refuses parts that do not make one dataset of these settings."""
    wanted = config.to_parameter()
    for part in parts:
        for name in sorted(wanted.keys() | part.config.keys()):
            if part.config.get(name) != wanted.get(name):
                raise ValueError(
                    f"expected parts made with data.{name}={wanted.get(name)!r}. "
                    f"Received: {part.config.get(name)!r} in part {part.number}"
                )
        ranges = [one.origin.values.text if one.origin.values else "0..255" for one in (part, parts[0])]
        if ranges[0] != ranges[1]:
            raise ValueError(
                "expected parts of one range of values; the images have changed between them. "
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


def _take(config: DataConfig, part: Part, place: Path, folder: Path) -> None:
    """Puts the records of a part into the dataset: its training images are a shard, its test images a piece of one."""
    for split, made in part.slices.items():
        number = part.number if split == "train" else 0
        source, target = (shard(where, split, number, config) for where in (place, folder))
        if not made.count:
            continue
        sizes = {source: made.bytes, fingerprints(source): SIZE * made.count}
        for path, size in sizes.items():
            if not path.exists() or path.stat().st_size != size:
                raise ValueError(f"the shard {path.name} is missing or cut off. Received: folder={str(place)!r}")
        if made.sha256 != storage.sha256(source):
            raise ValueError(
                f"the shard {source.name} is not the one that its part wrote. Received: folder={str(place)!r}"
            )
        _append(fingerprints(source), fingerprints(target))
        if split == "test":
            _append(source, target)
            continue
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, target)


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as content, target.open("ab") as file:
        shutil.copyfileobj(content, file)


@contextlib.contextmanager
def _whole(output: Path) -> Iterator[Path]:
    try:
        with storage.atomic_folder(output) as folder:
            yield folder
    except (storage.RemoteError, ReadError):  # of reading
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"cannot write prepared images: {reason}. Received: output={str(output)!r}") from error
