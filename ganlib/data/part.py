"""The file `part.json`, which describes one part of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganlib import storage
from ganlib.data.base import Split
from ganlib.data.config import DataConfig
from ganlib.data.manifest import Origin
from ganlib.data.parts import SplitResult
from ganlib.schema import parse

PART_FILE = "part.json"
PART_FORMAT = "gan-pipelines/part@5"


@dataclass(frozen=True)
class Part:
    """The content of a part's `part.json`.

    Attributes:
        format: Format of the file.
        number: Number of the part, from 0.
        of: Number of parts.
        config: The settings that it was made with.
        origin: Facts about the listing that it was made from.
        slices: The results for the images of each of its shards, in order.
        test_sha256: Checksum of its test images; None if it has none.
    """

    format: str
    number: int
    of: int
    config: dict[str, Any]
    origin: Origin
    slices: list[dict[Split, SplitResult]]
    test_sha256: str | None

    @property
    def summary(self) -> dict[str, Any]:
        """The metadata of the KFP artifact of this part."""
        return {
            "part": self.number,
            "train": self.count("train"),
            "test": self.count("test"),
            "skipped": sum(len(result.skipped) for one in self.slices for result in one.values()),
        }

    def count(self, split: Split) -> int:
        """Returns the number of usable images of a split."""
        return sum(one[split].count for one in self.slices)


def shards_of(config: DataConfig, part: int, of: int) -> range:
    """Returns the numbers of a part's shards. They follow each other, as their test images do in the dataset."""
    return range(part * config.shards // of, (part + 1) * config.shards // of)


def open_part(folder: Path) -> Part:
    """Reads the description of a part.

    Raises:
        ValueError: The folder is not a part, or one of another format.
    """
    content = storage.read_json(folder / PART_FILE)
    try:
        part: Part = parse(Part, content)
    except ValidationError as error:
        raise ValueError(f"expected a complete {PART_FILE}. Received: folder={str(folder)!r}") from error
    if part.format != PART_FORMAT:
        raise ValueError(f"expected a part of format {PART_FORMAT}. Received: format={part.format!r}")
    return part
