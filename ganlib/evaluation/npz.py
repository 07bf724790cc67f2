"""NumPy's npz files, whole and without pickled objects."""

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
    """Reads those arrays of a file that bear the names.

    Raises:
        ValueError: The file is absent, damaged, or of another kind.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"not a readable npz file: absent, cut off, or of another kind. Received: path={str(path)!r}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in names if name in file.files}
    except Exception as error:  # zipfile and NumPy raise almost anything on damaged files, down to MemoryError
        raise ValueError(f"not a readable npz file: {error!r}. Received: path={str(path)!r}") from error
    # NumPy gives the bytes of what begins otherwise than an array.
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
