"""Describes the images for a dry run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from ganlib import storage
from pipelines.command.stops import stop_on_errors

MAX_BYTES = 256 * 2**20  # of a file that must be read completely


def describe_images(config: Any) -> list[str]:
    """Returns lines that describe the images. Nothing is downloaded, and large files that take long are skipped.

    Raises:
        Stop: The images cannot be used; a run would fail in the same way.
    """
    with stop_on_errors():
        config.check_locations()
    source = config.data.source
    locations = list(source.locations.values())
    paths = [storage.local_path(location) for location in locations if not storage.is_remote(location)]
    if not locations:  # the embedded digits
        return []
    if any(map(storage.is_remote, locations)):
        return ["not checked: the images are not on this machine"]
    if not all(_is_quick(path, kind=source.kind) for path in paths):
        return [f"not checked: a file of more than {MAX_BYTES} bytes that must be read completely"]
    with stop_on_errors():
        try:
            from ganlib.data import describe, survey

            listing = source.listing()
            description = describe(listing, survey(listing, config.data.value_range))
        except ModuleNotFoundError as error:
            return [f"not checked: {error.name} is not installed"]
        return [*description, *(f"note: {note}" for note in config.check_listing(listing))]


def _is_quick(path: Path, *, kind: str) -> bool:
    """Returns whether a file is small, or can be listed without reading it completely."""
    if path.is_dir() or path.stat().st_size <= MAX_BYTES:
        return True
    return kind in ("archive", "paired_images") and zipfile.is_zipfile(path)
