"""What a source of images is: a listing whose entries can be read one by one."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ganlib.data.locations import ImageLocation
from ganlib.schema import Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Split = Literal["train", "test"]
MIN_IMAGES = 2  # images of a split


class Entry(NamedTuple):
    """One image of a listing, before it is read.

    Attributes:
        name: Unique and stable name, such as the path below the source's folder.
        split: Where it belongs.
        label: Index into the listing's classes, or None where there are none.
        size: Bytes of the stored image.
        modified: Time of the last change in nanoseconds, 0 where there is no such time.
    """

    name: str
    split: Split
    label: int | None
    size: int
    modified: int = 0


class IgnoredFiles(NamedTuple):
    """Files that are there and not used.

    Attributes:
        number: How many.
        noun: What they are, such as `image`.
        reason: What follows the noun, such as `beside the folder cats`.
        example: One of them.
    """

    number: int
    noun: str
    reason: str
    example: str

    def __str__(self) -> str:
        """What people read, such as `2 images beside the folder cats, such as overview.png`."""
        return f"{self.number} {self.noun}{'s' if self.number != 1 else ''} {self.reason}, such as {self.example}"


@dataclass(frozen=True)
class Listing:
    """All images of a source, named but not read.

    Attributes:
        entries: The images, in a stable order.
        classes: Names of the classes; empty without labels.
        locate: Says where the image at an index is stored.
        files: Descriptors of open files that another process needs to open images; they are open as long as the
            listing is there.
        ignored: Visible files that are not used.
        notes: What else people should know of, such as why there are no classes.
        drawn: Whether the test images were drawn from all, since the source does not say which they are.
    """

    entries: Sequence[Entry]
    classes: tuple[str, ...]
    locate: Callable[[int], ImageLocation]
    files: tuple[int, ...] = ()
    ignored: tuple[IgnoredFiles, ...] = ()
    notes: tuple[str, ...] = ()
    drawn: bool = False

    @property
    def ignored_count(self) -> int:
        """Number of files that are not used."""
        return sum(item.number for item in self.ignored)

    def read(self, index: int) -> Image.Image | NDArray[np.generic]:
        """Opens the image at an index, or gives its numbers; raises what Pillow raises on a damaged file."""
        return self.locate(index).open()

    def checksum(self, *, with_times: bool = False) -> str:
        """Returns the SHA-256 of names, splits, labels, classes and sizes, and of modification times if asked."""
        digest = hashlib.sha256("\t".join(self.classes).encode())
        for entry in self.entries:
            time = entry.modified if with_times else 0
            digest.update(f"{entry.name}\t{entry.split}\t{entry.label}\t{entry.size}\t{time}\n".encode())
        return digest.hexdigest()

    def check_splits(self) -> None:
        """Refuses what cannot be both trained and tested on.

        Raises:
            ValueError: A split holds fewer than two images.
        """
        train, test = (sum(entry.split == split for entry in self.entries) for split in ("train", "test"))
        if min(train, test) < MIN_IMAGES:
            raise ValueError(
                f"expected at least {MIN_IMAGES} images to train on and {MIN_IMAGES} to test on. "
                f"Received: train={train}, test={test}"
            )


class DataSource(Config):
    """A place that images come from. Final classes add `kind` and their settings."""

    @abstractmethod
    def listing(self) -> Listing:
        """Names every image without reading it.

        Raises:
            ValueError: Nothing usable is there; the message says what was expected.
        """


def assign_splits(names: Sequence[str], fraction: float, labels: Sequence[int | None] | None = None) -> list[Split]:
    """Splits names class by class, so that adding an image moves hardly any other.

    Of each class the names with the smallest hashes are held out, so the choice depends on nothing but the names. A
    class gives its share of the images and keeps at least one to train on; the parts of images that this leaves go to
    the classes with the largest ones.

    Args:
        names: Unique names.
        fraction: Share of the names for the test split, in (0, 1).
        labels: The class of each name; absent or None means that there are no classes.

    Returns:
        The split of each name; each split holds at least two, or all are for training where they are too few. Where
        the classes are so small that fewer than two could be held out, classes do not count.
    """
    if len(names) < 2 * MIN_IMAGES:
        return ["train" for _ in names]
    wanted = min(max(MIN_IMAGES, round(fraction * len(names))), len(names) - MIN_IMAGES)
    hashes = [hashlib.sha256(name.encode()).digest() for name in names]
    ranked = sorted(range(len(names)), key=hashes.__getitem__)
    classes: dict[int | None, list[int]] = {}
    for row in ranked:
        classes.setdefault(labels[row] if labels else None, []).append(row)
    sizes, ties = [len(rows) for rows in classes.values()], [hashes[rows[0]] for rows in classes.values()]
    counts = _shares(sizes, wanted, ties=ties)
    test = {row for rows, count in zip(classes.values(), counts, strict=True) for row in rows[:count]}
    if len(test) < MIN_IMAGES:
        test = set(ranked[:wanted])
    return ["test" if row in test else "train" for row in range(len(names))]


def _shares(sizes: Sequence[int], wanted: int, *, ties: Sequence[bytes]) -> list[int]:
    """Shares a number among classes by their sizes, by largest remainders; each keeps at least one for itself."""
    quotas = [wanted * size / sum(sizes) for size in sizes]
    counts = [min(int(quota), size - 1) for quota, size in zip(quotas, sizes, strict=True)]
    largest = sorted(range(len(sizes)), key=lambda index: (counts[index] - quotas[index], ties[index]))
    while wanted > sum(counts) and (able := [index for index in largest if counts[index] < sizes[index] - 1]):
        for index in able[: wanted - sum(counts)]:
            counts[index] += 1
    return counts
