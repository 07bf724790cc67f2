"""Labels of images that stand in files beside them, as the field writes them.

`dataset.json` is what StyleGAN's tool for data sets writes: `{"labels": [["00000/img00000000.png", 6], ...]}`, or null
where there are no labels. `metadata.csv` and `metadata.jsonl` belong to Hugging Face's data sets of image folders and
have the columns `file_name` and `label`. All names are relative to the folder of the file.
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
MARKS = {STYLEGAN: b'"labels"', TABLE: b"file_name", LINES: b'"file_name"'}  # files without these say nothing of labels
MAX_BYTES = 64 * 2**20  # of all such files together: those of some million images
MAX_CLASSES = 65_536  # more is a mistake, such as serial numbers in the place of labels


@dataclass
class FileLabels:
    """What files say of labels.

    Attributes:
        files: Their names.
        labels: The class of each image by its name; empty if the files say that there are no labels.
    """

    files: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


def sort_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of classes in order: numbers as numbers, words by the alphabet."""
    names = sorted(classes)
    return tuple(sorted(names, key=int) if all(name.isascii() and name.isdigit() for name in names) else names)


def read_labels(names: Iterable[str], read: Callable[[str], bytes]) -> FileLabels | None:
    """Reads the files of labels among some files.

    Args:
        names: Names of all files, hidden ones excepted.
        read: Returns the bytes of a file.

    Returns:
        What they say; None if there are none, or none that is about labels.

    Raises:
        ValueError: One is damaged, too large, or of another form.
    """
    found, left = FileLabels(), MAX_BYTES
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
            if data is not None and MARKS[base] not in data.replace(b"\0", b""):  # without what UTF-16 puts between
                continue
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"labels that cannot be read: {reason}. Received: file={shorten(name)!r}") from error
        if rows is None:
            continue
        found.files.append(name)
        for image, label in rows:
            if label and found.labels.setdefault(folder + slash + image, label) != label:
                raise ValueError(
                    f"expected one label for every image. Received: image={shorten(image)!r} in {shorten(name)!r}"
                )
        if len(set(found.labels.values())) > MAX_CLASSES:
            raise ValueError(f"expected at most {MAX_CLASSES} different labels. Received: file={shorten(name)!r}")
    return found if found.files else None


def _text(data: bytes, left: int) -> str:
    if left < 0:
        raise ValueError(f"expected at most {MAX_BYTES} bytes of labels")
    return data.decode("utf-8-sig")


def _rows(base: str, text: str) -> list[tuple[str, str]] | None:
    """Returns names and labels; None if the file is about something else."""
    if base == STYLEGAN:
        return _of_stylegan(json.loads(text))
    rows = csv.DictReader(io.StringIO(text)) if base == TABLE else _objects(text)
    pairs = []
    for row in rows:
        if "file_name" not in row or "label" not in row:
            return None
        pairs.append((_name(row["file_name"]), _label(row["label"])))
    return pairs or None


def _of_stylegan(content: Any) -> list[tuple[str, str]] | None:
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
    """Returns a label as text, empty where the file leaves it out."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"expected a word or a whole number as label, not {value!r:.50}")  # noqa: TRY004  # a mistake in a file
    return to_printable(str(value))
