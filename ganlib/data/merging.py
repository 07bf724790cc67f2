"""The pipeline step `merge_parts`: makes one dataset of parts that several tasks prepared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ganlib import storage
from ganlib.data.base import Listing
from ganlib.data.config import DataConfig
from ganlib.data.fingerprints import SIZE
from ganlib.data.manifest import finish
from ganlib.data.part import Part, open_part, shards_of
from ganlib.data.parts import fingerprints, shard
from ganlib.data.preparation import list_images, output_folder
from ganlib.data.records import PreparedDataset
from ganlib.environment import escape_output


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
    if not parts:
        raise ValueError("expected at least one part. Received: parts=[]")
    contents = {folder: open_part(folder) for folder in parts}
    folders = sorted(contents, key=lambda folder: contents[folder].number)
    ordered = [contents[folder] for folder in folders]
    _check(config, ordered)
    origin = ordered[0].origin

    def listing() -> Listing:
        current, current_origin = list_images(config)
        if current_origin != origin:
            raise ValueError(f"the images have changed since the parts were made. Received: {config.source}")
        return current

    with output_folder(output) as folder:
        for part, part_folder in zip(ordered, folders, strict=True):
            _add_part(config, part, part_folder, folder)
        finish(config, origin, [one for part in ordered for one in part.slices], folder, listing)
    return PreparedDataset.open(output)


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
    numbers, of = [part.number for part in parts], {part.of for part in parts}
    if len(of) != 1:
        raise ValueError(f"expected the parts of one preparation. Received: parts of {sorted(of)}")
    if numbers != list(range(*of)):
        raise ValueError(f"expected each part from 0 to {max(of) - 1} once. Received: parts={numbers}")


def _add_part(config: DataConfig, part: Part, part_folder: Path, folder: Path) -> None:
    """Adds the records of a part: its training images are shards, its test images are appended to one."""
    for number, results in zip(shards_of(config, part.number, part.of), part.slices, strict=True):
        train = results["train"]
        if train.count:
            source = shard(part_folder, "train", number, config)
            _check_shard(source, count=train.count, size=train.bytes, sha256=train.sha256)
            _link(source, shard(folder, "train", number, config))
            _append(fingerprints(source), fingerprints(shard(folder, "train", number, config)))
    if part.count("test"):
        source, target = (shard(path, "test", 0, config) for path in (part_folder, folder))
        size = sum(results["test"].bytes for results in part.slices)
        _check_shard(source, count=part.count("test"), size=size, sha256=part.test_sha256)
        _append(source, target)
        _append(fingerprints(source), fingerprints(target))


def _check_shard(source: Path, *, count: int, size: int, sha256: str | None) -> None:
    """Checks that a shard of a part, and its fingerprints, are what the part wrote."""
    for path, expected in {source: size, fingerprints(source): SIZE * count}.items():
        if not path.exists() or path.stat().st_size != expected:
            raise ValueError(f"the shard {path.name} is missing or cut off. Received: folder={str(path.parent)!r}")
    if sha256 != storage.sha256(source):
        raise ValueError(
            f"the shard {source.name} is not the one that its part wrote. Received: folder={str(source.parent)!r}"
        )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _append(source: Path, target: Path) -> None:
    with source.open("rb") as content, target.open("ab") as file:
        shutil.copyfileobj(content, file)
