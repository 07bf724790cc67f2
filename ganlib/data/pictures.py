"""Pictures of any size, read one by one."""

from __future__ import annotations

from collections.abc import Iterator

from etils import epy

from ganlib.data.conform import MODES, Colour, open_image
from ganlib.data.images import Images
from ganlib.data.loading import UnusableImageError
from ganlib.data.records import PreparedDataset

with epy.lazy_imports():
    from PIL import Image


def read_pictures(location: str, *, colour: Colour) -> Iterator[tuple[str, Image.Image]]:
    """Yields the name of each picture at a location and the picture itself, of any size, in a fixed order.

    Prints which files are ignored. Unlike `Images`, it does not record what a conversion to grey or RGB loses.

    Args:
        location: A place as for `Images.at`.
        colour: Mode of the pictures, grey or RGB.

    Raises:
        ValueError: There are no pictures, or one cannot be read.
    """
    images = Images.at(location)
    if isinstance(images.source, PreparedDataset):
        for split in images.splits:
            for batch, _ in images.source.read(split):
                for pixels in batch:
                    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
                    yield f"an image of {split}", picture.convert(MODES[colour])
        return
    if images.source.ignored:
        print(f"{location}: ignored {'; '.join(map(str, images.source.ignored))}", flush=True)
    values = images.values
    for row, entry in enumerate(images.source.entries):
        if entry.split not in images.splits:
            continue
        stored = images.source.locate(row)
        try:
            picture, _ = open_image(stored.open, colour=colour, values=values)
        except UnusableImageError as error:
            raise ValueError(f"expected pictures that can be read. Received: {entry.name} ({error})") from error
        yield entry.name, picture
