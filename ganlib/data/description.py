"""A description of a source in two lines, printed before any work is done on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from etils import epy

from ganlib.data.base import Listing
from ganlib.data.loading import UnusableImageError, load
from ganlib.data.names import shorten
from ganlib.data.value_survey import Survey
from ganlib.remote.file import RemoteError

with epy.lazy_imports():
    from PIL import Image

SAMPLE_SIZE = 10  # number of images that are decoded for their sizes
GREY = ("1", "L", "LA", "La", "F", "I", "I;16", "I;16B", "I;16L")  # modes of Pillow
SHOWN_CLASSES = 5
MAX_LETTERS = 30  # of a class name


def describe(listing: Listing, survey: Survey, *, with_splits: bool = True) -> list[str]:
    """Returns what the user should check: counts of splits and classes, then ignored files, sizes and values.

    A few images are decoded for their sizes. Of those that cannot be, one is named.

    Args:
        listing: The listing of a source.
        survey: Its survey.
        with_splits: Whether to show the splits.

    Raises:
        RemoteError: A bucket cannot be read.
    """
    counts = Counter(entry.split for entry in listing.entries)
    drawn = " (held out at random)" if listing.drawn and counts["test"] else ""
    splits = f": train {counts['train']}, test {counts['test']}{drawn}" if with_splits else ""
    ignored = [f"ignored: {'; '.join(map(str, listing.ignored))}"] if listing.ignored else []
    more = [*ignored, *listing.notes, *_sizes(listing), survey.text]
    if listing.targets is not None and survey.targets is not None:
        more += [f"targets: {text}" for text in (*_sizes(listing.targets), survey.targets.text)]
    noun = "pairs" if listing.paired else "images"
    return [f"{len(listing.entries)} {noun}{splits}; {_classes(listing)}", "; ".join(more)]


def print_description(description: Sequence[str]) -> None:
    """Prints a description."""
    for line in description:
        print(f"data: {line}", flush=True)


def _classes(listing: Listing) -> str:
    if not listing.classes:
        return "no classes"
    counts = Counter(entry.label for entry in listing.entries)
    sizes = [counts[index] for index in range(len(listing.classes))]
    least = sizes.index(min(sizes))
    labels = [f"{name:.{MAX_LETTERS}} {size}" for name, size in zip(listing.classes, sizes, strict=True)]
    if max(sizes) > min(sizes):
        labels[least] += " (fewest)"
    shown = labels[:SHOWN_CLASSES]
    if len(labels) > SHOWN_CLASSES:
        shown += [labels[least]] if least >= SHOWN_CLASSES and max(sizes) > min(sizes) else []
        shown.append(f"and {len(labels) - len(shown)} more")
    return f"{len(labels)} classes: {', '.join(shown)}"


def _sizes(listing: Listing) -> list[str]:
    """Returns the sizes of some images, taken at even distances from the listing, and whether they are grey."""
    total = len(listing.entries)
    sizes, grey, unreadable = [], 0, []
    for index in sorted({number * total // SAMPLE_SIZE for number in range(SAMPLE_SIZE)}) if total else []:
        try:
            image = load(listing.locate(index).open).source
        except RemoteError:
            raise
        except (UnusableImageError, OSError, MemoryError) as error:
            unreadable.append(f"{shorten(listing.entries[index].name)} ({error})")
            continue
        if isinstance(image, Image.Image):
            size, is_grey = image.size, image.mode in GREY
        else:
            size, is_grey = (image.shape[1], image.shape[0]), image.ndim == 2 or image.shape[2] == 1
        sizes.append(size)
        grey += is_grey
    broken = []
    if unreadable:
        count = f"{len(unreadable)} of {len(sizes) + len(unreadable)}"
        broken.append(f"{count} checked images cannot be read, such as {unreadable[0]}")
    if not sizes:
        return broken
    kinds = {0: "in colour", len(sizes): "grey"}.get(grey, f"{grey} of them grey")
    smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
    span = "x".join(map(str, smallest)) + ("" if smallest == largest else f" to {'x'.join(map(str, largest))}")
    return [f"sizes {span}, {kinds} ({len(sizes)} checked)", *broken]


def _area(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size
