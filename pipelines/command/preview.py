"""What a dry run says of images that are at hand."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from pipelines.command.stops import for_people

MAX_BYTES = 256 * 2**20  # of a file that has to be unpacked or read as a whole


def described(config: Any) -> list[str]:
    """Returns what is recognised of the images; nothing is downloaded, and what takes long is not looked at.

    Raises:
        Stop: A run would refuse them.
    """
    source = config.data.source
    places = [place for place in (getattr(source, "path", None), getattr(source, "labels", None)) if place is not None]
    paths = [Path(place).expanduser() for place in places if "://" not in place]
    if not places:  # the embedded ones
        return []
    if len(paths) < len(places) or not all(path.exists() for path in paths):
        return ["the images are not on this machine, and not looked at"]
    if not _quick(paths[0], kind=source.kind):
        return [f"not looked at: a file of more than {MAX_BYTES} bytes that must be read as a whole"]
    with for_people():
        try:
            from ganlib.data import describe, survey

            listing = source.listing()
            description = describe(listing, survey(listing, config.data.value_range))
        except ModuleNotFoundError as error:
            return [f"not looked at: {error.name} is missing"]
        listing.check_splits()
        config.task.check_data(classes=len(listing.classes))
        return description


def _quick(path: Path, *, kind: str) -> bool:
    """Says whether a file can be listed without being read as a whole, or is small."""
    if path.is_dir() or path.stat().st_size <= MAX_BYTES:
        return True
    return kind == "archive" and zipfile.is_zipfile(path)
