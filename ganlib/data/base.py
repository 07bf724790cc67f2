"""The base class of image sources, and the listing of images that each source returns."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from ganlib import storage
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
        split: The split of the image.
        label: Index into the listing's classes, or None without classes.
        size: Bytes of the stored image.
        modified: Time of the last change in nanoseconds; 0 if it is not known.
    """

    name: str
    split: Split
    label: int | None
    size: int
    modified: int = 0


class IgnoredFiles(NamedTuple):
    """Files of a source that are not used.

    Attributes:
        number: Number of files.
        noun: What they are, such as `image`.
        reason: Why they are ignored, such as `beside the folder cats`; it follows the noun.
        example: Name of one of them.
    """

    number: int
    noun: str
    reason: str
    example: str

    def __str__(self) -> str:
        """Returns a phrase such as `2 images beside the folder cats, such as overview.png`."""
        return f"{self.number} {self.noun}{'s' if self.number != 1 else ''} {self.reason}, such as {self.example}"


@dataclass(frozen=True)
class Listing:
    """The names of all images of a source. No image has been read yet.

    Attributes:
        entries: The images, in a stable order.
        classes: Names of the classes; empty without labels.
        locate: Returns the location of the image at an index.
        files: Descriptors of open files that another process needs to open images. They stay open as long as the
            listing exists.
        ignored: Visible files that are not used.
        notes: Other remarks for the user, such as why there are no classes.
        paired: Whether each image has a target. The locations are then those of pairs.
        targets: A listing of the targets in the same order, if they are files of their own.
        drawn: Whether the test images were drawn from all images, because the source has no test split.
    """

    entries: Sequence[Entry]
    classes: tuple[str, ...]
    locate: Callable[[int], ImageLocation]
    files: tuple[int, ...] = ()
    ignored: tuple[IgnoredFiles, ...] = ()
    notes: tuple[str, ...] = ()
    drawn: bool = False
    paired: bool = False
    targets: Listing | None = None

    @property
    def ignored_count(self) -> int:
        """The number of files that are not used."""
        return sum(item.number for item in self.ignored)

    def read(self, index: int) -> Image.Image | NDArray[np.generic]:
        """Opens the image at an index, or returns its array. A damaged file raises whatever Pillow raises."""
        return self.locate(index).open()

    def checksum(self, *, with_times: bool = False) -> str:
        """Returns the SHA-256 of names, splits, labels, classes and sizes, optionally with modification times."""
        digest = hashlib.sha256("\t".join(self.classes).encode())
        for entry in self.entries:
            time = entry.modified if with_times else 0
            digest.update(f"{entry.name}\t{entry.split}\t{entry.label}\t{entry.size}\t{time}\n".encode())
        if self.targets is not None:
            digest.update(self.targets.checksum(with_times=with_times).encode())
        return digest.hexdigest()

    def check_splits(self) -> None:
        """Checks that there are enough images to train and to test on.

        Raises:
            ValueError: A split has fewer than two images.
        """
        train, test = (sum(entry.split == split for entry in self.entries) for split in ("train", "test"))
        if min(train, test) < MIN_IMAGES:
            raise ValueError(
                f"expected at least {MIN_IMAGES} images to train on and {MIN_IMAGES} to test on. "
                f"Received: train={train}, test={test}"
            )


class DataSource(Config):
    """The base class of image sources. Subclasses add `kind` and their settings."""

    downloads_folders: ClassVar[bool] = False
    """Whether a folder of a bucket must be downloaded to list its images."""

    @property
    def remote_version(self) -> str | None:
        """What servers report about the files at `locations`; None if the images can be listed."""
        versions = {
            name: storage.remote_version(location, folders=self.downloads_folders)
            for name, location in sorted(self.locations.items())
        }
        return None if not versions or None in versions.values() else storage.canonical_json(versions)

    @abstractmethod
    def listing(self) -> Listing:
        """Lists all images without reading them.

        Raises:
            ValueError: The source has no usable images; the message says what was expected.
        """


def assign_splits(names: Sequence[str], fraction: float, labels: Sequence[int | None] | None = None) -> list[Split]:
    """Draws the test split class by class, so that adding an image moves hardly any other image.

    In each class, the names with the smallest hashes are held out, so the choice depends only on the names. Each class
    contributes its share of the test images and keeps at least one image for training. Fractions of images are
    rounded by the largest remainder method.

    Args:
        names: Unique names.
        fraction: Share of the names for the test split, in (0, 1).
        labels: The class of each name; None means that there are no classes.

    Returns:
        The split of each name. Each split has at least two names; if there are too few names for that, all are for
        training. If the classes are so small that fewer than two names could be held out, classes are ignored.
    """
    if len(names) < 2 * MIN_IMAGES:
        return ["train" for _ in names]
    requested = min(max(MIN_IMAGES, round(fraction * len(names))), len(names) - MIN_IMAGES)
    hashes = [hashlib.sha256(name.encode()).digest() for name in names]
    ranked = sorted(range(len(names)), key=hashes.__getitem__)
    classes: dict[int | None, list[int]] = {}
    for row in ranked:
        classes.setdefault(labels[row] if labels else None, []).append(row)
    sizes, ties = [len(rows) for rows in classes.values()], [hashes[rows[0]] for rows in classes.values()]
    counts = _shares(sizes, requested, ties=ties)
    test = {row for rows, count in zip(classes.values(), counts, strict=True) for row in rows[:count]}
    if len(test) < MIN_IMAGES:
        test = set(ranked[:requested])
    return ["test" if row in test else "train" for row in range(len(names))]


def _shares(sizes: Sequence[int], requested: int, *, ties: Sequence[bytes]) -> list[int]:
    """Divides a number among classes in proportion to their sizes; each class keeps at least one of its names."""
    quotas = [requested * size / sum(sizes) for size in sizes]
    counts = [min(int(quota), size - 1) for quota, size in zip(quotas, sizes, strict=True)]
    largest = sorted(range(len(sizes)), key=lambda index: (counts[index] - quotas[index], ties[index]))
    while requested > sum(counts) and (able := [index for index in largest if counts[index] < sizes[index] - 1]):
        for index in able[: requested - sum(counts)]:
            counts[index] += 1
    return counts
