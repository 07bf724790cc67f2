"""The files of a folder, a bucket or an archive: their names, and how each is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ganlib.data.base import Entry, IgnoredFiles, Listing
from ganlib.data.layouts import arrange
from ganlib.data.locations import FileLocation


@dataclass(frozen=True)
class FileSet:
    """Some files that can be images.

    Attributes:
        names: Paths relative to the source, with `/` between their parts.
        place: Location of the files, for messages.
        locate: Returns the location of a file.
        status: Returns the size of a file in bytes, and the time of its last change in nanoseconds or 0.
        ignored: Other visible files, which are not used.
        descriptors: Descriptors of open files that the locations refer to.
        notes: Other remarks for the user.
    """

    names: Iterable[str]
    place: str
    locate: Callable[[str], FileLocation]
    status: Callable[[str], tuple[int, int]]
    ignored: tuple[IgnoredFiles, ...] = ()
    descriptors: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def listing(self, *, test_fraction: float) -> Listing:
        """Lists the images by splits and classes.

        Args:
            test_fraction: Share of the images held out for testing, if there is no test folder.

        Raises:
            ValueError: There are no usable images.
        """
        layout = arrange(self.names, locate=self.locate, test_fraction=test_fraction, place=self.place)
        paths = [layout.top + name for name in layout.names]
        entries = [
            Entry(name, split, label, *self.status(path))
            for name, split, label, path in zip(layout.names, layout.splits, layout.labels, paths, strict=True)
        ]
        return Listing(
            entries,
            layout.classes,
            lambda index: self.locate(paths[index]),
            files=self.descriptors,
            ignored=(*layout.ignored, *self.ignored),
            notes=(*layout.notes, *self.notes),
            drawn=layout.drawn,
        )
