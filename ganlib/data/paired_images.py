"""Pairs of images: side by side in one picture, or in two folders with equal names."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pydantic import Field, model_validator

from ganlib import storage
from ganlib.data.archive import archive_files
from ganlib.data.base import DataSource, Listing
from ganlib.data.file_set import FileSet
from ganlib.data.image_folder import folder_files
from ganlib.data.pairing import Side, pair_listing, split_sides
from ganlib.data.pairs import Half, Halves
from ganlib.schema import READ

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class PairedImages(DataSource):
    """Images with a target each, in a folder or an archive. Folders of splits and classes are those of `image_folder`.

    With the layout `side_by_side`, each picture holds an image and its target. With `two_folders`, the images are in
    folders named `A` or `trainA`, `testA` and so on, the targets in `B` or `trainB`, `testB`, or `target_path` is the
    place of the targets. An image and its target then have the same path below these folders, but the suffix may
    differ. An image without a target, a target without an image, and two of different sizes are skipped.
    """

    kind: Literal["paired_images"] = "paired_images"
    path: str = Field(min_length=1, json_schema_extra=READ)
    """Folder or archive of the pairs, local or in a bucket (gs://, s3://)."""
    layout: Literal["side_by_side", "two_folders"] = "side_by_side"
    """Whether an image and its target are the halves of one picture, or files in two folders."""
    target_path: str | None = Field(default=None, min_length=1, json_schema_extra=READ)
    """Folder or archive of the targets, if they are not below `path`. Only for the layout `two_folders`."""
    input: Half = "left"
    """Which half of a picture is the image; the other one is its target. Of two folders, A is left and B is right."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the pairs held out for testing, if there is no test folder."""

    @model_validator(mode="after")
    def _check_target_path(self) -> PairedImages:
        if self.target_path is not None and self.layout != "two_folders":
            raise ValueError(f"expected layout=two_folders with a target_path. Received: layout={self.layout!r}")
        if self.target_path is not None and self.input != "left":
            raise ValueError(
                f"expected no input with a target_path: exchange the paths. Received: input={self.input!r}"
            )
        return self

    def listing(self) -> Listing:
        """Lists the pairs without reading them.

        Raises:
            ValueError: The folder or archive does not exist, or has no pairs.
        """
        files = _files(self.path)
        if self.layout == "side_by_side":
            return self._side_by_side(files)
        if self.target_path is None:
            return pair_listing(*split_sides(files, inputs_in_a=self.input == "left"), test_fraction=self.test_fraction)
        sides = Side.of(files), Side.of(_files(self.target_path))
        return pair_listing(*sides, test_fraction=self.test_fraction)

    def _side_by_side(self, files: FileSet) -> Listing:
        listing = files.listing(test_fraction=self.test_fraction)
        note = f"each picture is an image and its target, the image on the {self.input}"
        return dataclasses.replace(
            listing,
            locate=lambda index: Halves(listing.locate(index), self.input),
            notes=(*listing.notes, note),
            paired=True,
        )


def _files(path: str) -> FileSet:
    """Finds the files of a folder or an archive."""
    if storage.is_bucket(path):
        packed = path.lower().endswith(ARCHIVES)
    else:
        packed = storage.is_remote(path) or not storage.fetch(path).is_dir()
    return archive_files(path) if packed else folder_files(path)
