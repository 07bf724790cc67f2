"""Reads npz files, without pickled objects."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Reads the named arrays of a file; missing ones are left out.

    Raises:
        ValueError: The file is missing, damaged, or of another format.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"not a readable npz file: missing, truncated, or of another format. Received: path={str(path)!r}"
        )
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file.files}
    except Exception as error:  # on damaged files, zipfile and NumPy raise almost anything, even MemoryError
        raise ValueError(f"not a readable npz file: {error!r}. Received: path={str(path)!r}") from error
    # NumPy returns bytes for a member that is not an array.
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
