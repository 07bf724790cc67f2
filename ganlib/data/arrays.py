"""Images stored as arrays: the idx files of the MNIST family, and NumPy's npz."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from etils import epy
from pydantic import Field

from ganlib import storage
from ganlib.data.base import DataSource, Entry, Listing, Split, assign_splits
from ganlib.data.locations import Pixels
from ganlib.schema import READ

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK"
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test", "images", "labels")
NAMELESS = {"arr_0": "images", "arr_1": "labels"}  # written by `np.savez` without names, as is common for samples
SHOWN_NAMES = 8
MAX_CLASSES = 65_536  # more is a mistake, such as serial numbers instead of labels


@dataclass(frozen=True)
class _SplitArrays:
    """The images of one split, [N, H, W] or [N, H, W, C], and optional integer labels [N]."""

    images: NDArray[np.generic]
    labels: NDArray[np.int64] | None


class Arrays(DataSource):
    """Images in idx files (gzipped or not) or in an npz file.

    `path` is a folder with the four files of the MNIST family (`train-images-idx3-ubyte` and so on),
    an npz file with `x_train`, `y_train`, `x_test`, `y_test` or with `images`, `labels` (or `arr_0`, `arr_1`), or one
    idx file of images. Any numeric type works: uint8 is used as it is, other types are scaled by the range of the set.
    Pickled arrays are refused.
    """

    downloads_folders: ClassVar[bool] = True
    kind: Literal["arrays"] = "arrays"
    path: str = Field(min_length=1, json_schema_extra=READ)
    """Folder of idx files, or an npz file, or an idx file of images."""
    labels: str | None = Field(default=None, json_schema_extra=READ)
    """Idx file of the labels, if `path` is an idx file."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the images held out for testing, if the files have no test split."""

    def listing(self) -> Listing:
        """Lists the images by split and position.

        Raises:
            ValueError: A file is missing or damaged, or its arrays are not images and labels.
        """
        path = storage.fetch(self.path)
        parts = self._parts(path)
        modified = _modified(path)
        classes = _classes(parts)
        pixels: list[NDArray[np.generic]] = []
        entries: list[Entry] = []
        for split, part in parts.items():
            names = [f"{split}-{index:07d}" for index in range(len(part.images))]
            splits: list[Split] = [split] * len(names)
            labels: list[int | None] = [None] * len(names)
            if classes and part.labels is not None:
                labels = part.labels.tolist()
            if len(parts) == 1:
                splits = assign_splits(names, self.test_fraction, labels)
            for index, name in enumerate(names):
                entries.append(Entry(name, splits[index], labels[index], part.images[index].nbytes, modified))
            pixels.extend(part.images)
        return Listing(entries, classes, lambda index: Pixels(pixels[index]), drawn=len(parts) == 1)

    def _parts(self, path: Path) -> dict[Split, _SplitArrays]:
        with_labels = path.is_dir() or zipfile.is_zipfile(path)
        if with_labels and self.labels is not None:
            raise ValueError(f"expected labels only beside an idx file of images. Received: labels={self.labels!r}")
        if path.is_dir():
            return {"train": _mnist_family(path, "train"), "test": _mnist_family(path, "t10k")}
        with path.open("rb") as file:
            magic = file.read(2)
        if magic == ZIP_MAGIC:
            return _npz(path)
        labels = None if self.labels is None else _read_idx(storage.fetch(self.labels), dimensions=1)
        return {"train": _split_arrays(_read_idx(path, dimensions=3), labels, path)}


def _mnist_family(folder: Path, prefix: str) -> _SplitArrays:
    files = []
    for stem in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
        existing = [path for path in (folder / stem, folder / f"{stem}.gz") if path.exists()]
        if not existing:
            raise ValueError(f"expected the file {stem} or {stem}.gz. Received: path={str(folder)!r}")
        files.append(existing[0])
    return _split_arrays(_read_idx(files[0], dimensions=3), _read_idx(files[1], dimensions=1), folder)


def _read_idx(path: Path, *, dimensions: int) -> NDArray[Any]:
    """Reads an idx file: two zero bytes, type, number of dimensions, sizes (big-endian), values."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"damaged gzip file: {error}. Received: path={str(path)!r}") from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or data[3] != dimensions:
        raise ValueError(f"expected an idx file with {dimensions} dimensions. Received: path={str(path)!r}")
    kind = np.dtype(IDX_TYPES[data[2]])
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    expected = header + kind.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise ValueError(f"expected {expected} bytes for shape {shape}. Received: bytes={len(data)} in {path.name}")
    return np.frombuffer(data, kind, offset=header).reshape(shape)


def _npz(path: Path) -> dict[Split, _SplitArrays]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = {name: name for name in NPZ_NAMES} if set(NPZ_NAMES) & set(file.files) else NAMELESS
            arrays = {ours: file[name] for name, ours in names.items() if name in file.files}
            shown = sorted(file.files)[:SHOWN_NAMES]
    except Exception as error:  # zipfile and NumPy raise almost anything on damaged files, even MemoryError
        raise ValueError(f"not a readable npz file: {error!r}. Received: path={str(path)!r}") from error
    raw = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if raw:  # NumPy returns raw bytes for a member without the header of an array
        raise ValueError(f"not a readable npz file: {raw[0]} is not an array. Received: path={str(path)!r}")
    if "x_train" in arrays and "x_test" in arrays:
        return {
            "train": _split_arrays(arrays["x_train"], arrays.get("y_train"), path),
            "test": _split_arrays(arrays["x_test"], arrays.get("y_test"), path),
        }
    if "images" in arrays:
        return {"train": _split_arrays(arrays["images"], arrays.get("labels"), path)}
    raise ValueError(
        f"expected the arrays x_train and x_test, or images, or one array without a name. Received: arrays={shown}"
    )


def _split_arrays(images: NDArray[Any], labels: NDArray[np.integer] | None, path: Path) -> _SplitArrays:
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4))
    if not shaped or images.dtype.kind not in "uif":
        raise ValueError(
            "expected images as numbers of shape [N, H, W] or [N, H, W, 1, 3 or 4]. "
            f"Received: dtype={images.dtype}, shape={images.shape} in {path.name}"
        )
    if labels is not None:
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (labels.size and labels.min() < 0):
            raise ValueError(
                "expected one non-negative integer label per image. "
                f"Received: dtype={labels.dtype}, shape={labels.shape} in {path.name}"
            )
        if labels.max(initial=0) >= MAX_CLASSES:
            raise ValueError(f"expected labels below {MAX_CLASSES}. Received: label={labels.max()} in {path.name}")
        if len(labels) != len(images):
            raise ValueError(f"expected one label per image, {len(images)} labels. Received: labels={len(labels)}")
    return _SplitArrays(images, None if labels is None else labels.astype(np.int64))


def _modified(path: Path) -> int:
    """Returns the sum of the files' times. A folder's own time does not change when a file in it is overwritten."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_mtime_ns for file in files)


def _classes(parts: dict[Split, _SplitArrays]) -> tuple[str, ...]:
    labels = [part.labels for part in parts.values() if part.labels is not None]
    if len(labels) != len(parts):
        return ()
    return tuple(str(index) for index in range(1 + max(int(array.max(initial=0)) for array in labels)))
