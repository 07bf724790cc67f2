"""The files that are made with an exported model: their names, and how they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import storage
from ganlib.data.every_image import without_suffix
from ganlib.data.names import shorten

with epy.lazy_imports():
    import numpy as np
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

PNG = ".png"


def check_output(output: Path, *, overwrite: bool, inputs: Sequence[str] = ()) -> None:
    """Checks that a file or a folder may be written.

    Args:
        output: The file or the folder.
        overwrite: Whether it may exist. An empty folder always may.
        inputs: Places of which no file may be replaced.

    Raises:
        ValueError: It exists, or it is one of the inputs or inside of one.
    """
    place = output.resolve()
    for one in inputs:
        path = Path(one).expanduser().resolve()
        if not storage.is_remote(one) and (place == path or (path.is_dir() and place.is_relative_to(path))):
            raise ValueError(f"expected an output outside of {one!r}. Received: output={str(output)!r}")
    taken = any(output.iterdir()) if output.is_dir() else output.exists()
    if taken and not overwrite:
        raise ValueError(f"expected a new output, or --overwrite. Received: output={str(output)!r}, which exists")


def result_files(names: Sequence[str], folder: Path) -> list[Path]:
    """Returns the file of the result of each picture, which has its name, with the suffix .png instead of its own.

    Pictures that differ only by their suffix keep it: the results of `a.jpg` and `a.bmp` are `a.jpg.png` and
    `a.bmp.png`, which is printed.

    Args:
        names: Names of the pictures, with `/` between folders.
        folder: Folder of the results.

    Raises:
        ValueError: Two results would have the same name nevertheless.
    """
    stems = [without_suffix(name) for name in names]
    many = Counter(stems)
    unique = [stem if many[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    if shared := [name for name, stem in zip(names, stems, strict=True) if many[stem] > 1]:
        print(
            f"note: {len(shared)} pictures have the name of another one with another suffix, so their results keep the "
            f"suffix, such as {shorten(shared[0])}{PNG}",
            flush=True,
        )
    first: dict[Path, str] = {}
    files = []
    for name, stem in zip(names, unique, strict=True):
        # Without empty parts: the name of an object in a bucket may begin with `/`, which would lead out of the folder.
        file = folder.joinpath(*filter(None, f"{stem}{PNG}".split("/")))
        if first.setdefault(file, name) != name:
            raise ValueError(
                f"expected pictures whose results have different names. Received: {shorten(first[file])!r} and "
                f"{shorten(name)!r}, both {file.name!r}"
            )
        files.append(file)
    return files


def save_png(pixels: NDArray[np.uint8], file: Path, *, profile: bytes | None = None) -> None:
    """Writes a PNG file atomically, with the folders that it needs.

    Args:
        pixels: uint8 [H, W, C] with one or three channels.
        file: The file.
        profile: Its colour profile.
    """
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    with storage.atomic_file(file) as temporary:
        picture.save(temporary, format="PNG", icc_profile=profile)
