"""What was recognised of a source, in two lines, before any work is done on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from etils import epy

from ganlib.data.base import Listing
from ganlib.data.value_survey import Survey
from ganlib.remote.file import RemoteError

with epy.lazy_imports():
    from PIL import Image

SAMPLE_SIZE = 10  # images that are opened for their sizes
GREY = ("1", "L", "LA", "La", "F", "I", "I;16", "I;16B", "I;16L")  # modes of Pillow
SHOWN_CLASSES = 5
MAX_LETTERS = 30  # of the name of a class


def describe(listing: Listing, found: Survey, *, with_splits: bool = True) -> list[str]:
    """Returns what people should check: splits and classes with their counts; what is left out, sizes and values.

    A few images are opened for their sizes; what cannot be opened is passed over here.

    Args:
        listing: That of a source.
        found: Its survey.
        with_splits: Whether the splits are used.

    Raises:
        RemoteError: A bucket cannot be read.
    """
    counts = Counter(entry.split for entry in listing.entries)
    drawn = " (held out at random)" if listing.drawn and counts["test"] else ""
    splits = f": train {counts['train']}, test {counts['test']}{drawn}" if with_splits else ""
    ignored = [f"ignored: {'; '.join(map(str, listing.ignored))}"] if listing.ignored else []
    more = [*ignored, *listing.notes, *_sizes(listing), found.text]
    return [f"{len(listing.entries)} images{splits}; {_classes(listing)}", "; ".join(more)]


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
    told = [f"{name:.{MAX_LETTERS}} {size}" for name, size in zip(listing.classes, sizes, strict=True)]
    if max(sizes) > min(sizes):
        told[least] += " (fewest)"
    shorten = told[:SHOWN_CLASSES]
    if len(told) > SHOWN_CLASSES:
        shorten += [told[least]] if least >= SHOWN_CLASSES and max(sizes) > min(sizes) else []
        shorten.append(f"and {len(told) - len(shorten)} more")
    return f"{len(told)} classes: {', '.join(shorten)}"


def _sizes(listing: Listing) -> list[str]:
    """Returns the sizes of some images, spread evenly over all, and whether they are grey."""
    total = len(listing.entries)
    found, grey, unreadable = [], 0, 0
    for index in sorted({number * total // SAMPLE_SIZE for number in range(SAMPLE_SIZE)}) if total else []:
        try:
            image = listing.read(index)
            if isinstance(image, Image.Image):
                size, is_grey = image.size, image.mode in GREY
            else:
                size, is_grey = (image.shape[1], image.shape[0]), image.ndim == 2 or image.shape[2] == 1
            found.append(size)
            grey += is_grey
        except RemoteError:
            raise
        except Exception:  # noqa: BLE001  # Pillow raises almost anything; preparing says why, and counts it
            unreadable += 1
    broken = [f"{unreadable} of {len(found) + unreadable} looked at cannot be read"] if unreadable else []
    if not found:
        return broken
    kinds = {0: "in colour", len(found): "grey"}.get(grey, f"{grey} of them grey")
    least, most = min(found, key=_area), max(found, key=_area)
    span = "x".join(map(str, least)) + ("" if least == most else f" to {'x'.join(map(str, most))}")
    return [f"sizes {span}, {kinds} ({len(found)} looked at)", *broken]


def _area(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    return size[0] * size[1], size
