"""Reads labels from files beside the images, in common formats.

`dataset.json` is written by StyleGAN's dataset tool: `{"labels": [["00000/img00000000.png", 6], ...]}`, or null without
labels. `metadata.csv` and `metadata.jsonl` are those of Hugging Face's ImageFolder, with the columns `file_name` and
`label`. All names are relative to the folder of the file.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganlib.data.names import shorten, to_printable

STYLEGAN = "dataset.json"
TABLE, LINES = "metadata.csv", "metadata.jsonl"
MARKS = {STYLEGAN: b'"labels"', TABLE: b"file_name", LINES: b'"file_name"'}  # files without these contain no labels
MAX_BYTES = 64 * 2**20  # of all label files together; enough for some million images
MAX_CLASSES = 65_536  # more is a mistake, such as serial numbers instead of labels


@dataclass
class FileLabels:
    """Labels that were read from files.

    Attributes:
        files: Names of the label files.
        labels: The class of each image by the image's name; empty if the files state that there are no labels.
    """

    files: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


def sort_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Sorts class names: by number if all of them are numbers, otherwise alphabetically."""
    names = sorted(classes)
    return tuple(sorted(names, key=int) if all(name.isascii() and name.isdigit() for name in names) else names)


def read_labels(names: Iterable[str], read: Callable[[str], bytes]) -> FileLabels | None:
    """Reads all label files among some files.

    Args:
        names: Names of all files except hidden ones.
        read: Returns the bytes of a file.

    Returns:
        The labels; None if no file contains labels.

    Raises:
        ValueError: A label file is damaged, too large, or malformed.
    """
    result, left = FileLabels(), MAX_BYTES
    for name in names:
        if not name.endswith((STYLEGAN, TABLE, LINES)):
            continue
        folder, slash, base = name.rpartition("/")
        if base not in (STYLEGAN, TABLE, LINES):
            continue
        data = None
        try:
            data = read(name)
            left -= len(data)
            rows = _rows(base, _text(data, left))
        except (ValueError, RecursionError, csv.Error, zlib.error, zipfile.BadZipFile) as error:
            if data is not None and MARKS[base] not in data.replace(b"\0", b""):  # UTF-16 adds zero bytes
                continue
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"cannot read labels: {reason}. Received: file={shorten(name)!r}") from error
        if rows is None:
            continue
        result.files.append(name)
        for image, label in rows:
            if label and result.labels.setdefault(folder + slash + image, label) != label:
                raise ValueError(
                    f"expected one label for every image. Received: image={shorten(image)!r} in {shorten(name)!r}"
                )
        if len(set(result.labels.values())) > MAX_CLASSES:
            raise ValueError(f"expected at most {MAX_CLASSES} different labels. Received: file={shorten(name)!r}")
    return result if result.files else None


def _text(data: bytes, left: int) -> str:
    if left < 0:
        raise ValueError(f"expected at most {MAX_BYTES} bytes of labels")
    return data.decode("utf-8-sig")


def _rows(base: str, text: str) -> list[tuple[str, str]] | None:
    """Returns pairs of name and label; None if the file contains something else."""
    if base == STYLEGAN:
        return _stylegan_rows(json.loads(text))
    rows = csv.DictReader(io.StringIO(text)) if base == TABLE else _objects(text)
    pairs = []
    for row in rows:
        if "file_name" not in row or "label" not in row:
            return None
        pairs.append((_name(row["file_name"]), _label(row["label"])))
    return pairs or None


def _stylegan_rows(content: Any) -> list[tuple[str, str]] | None:
    if not isinstance(content, dict) or "labels" not in content:
        return None
    pairs = content["labels"] or []
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if not isinstance(pairs, list) or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
        raise ValueError("expected `labels` to be pairs of a name and a label")
    return [(_name(name), _label(label)) for name, label in pairs]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("expected an object on every line")
            yield row


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected the name of a file, not {value!r:.50}")  # noqa: TRY004  # a mistake in a file
    name = to_printable(value.replace("\\", "/"))
    while name.startswith("./"):
        name = name[2:]
    return name


def _label(value: object) -> str:
    """Returns a label as text; empty if the file has none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a word or a whole number as label, not {value!r:.50}")  # noqa: TRY004  # a mistake in a file
    return to_printable(str(value))
