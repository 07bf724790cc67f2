"""Prepared images that are decoded only once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib.data.records import READ_BATCH, PreparedDataset

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.base import Split

DECODED_BYTES = 2**28  # largest split that is kept in memory


class DecodedDataset(PreparedDataset):
    """A dataset whose splits stay in memory after the first reading, as long as this object exists.

    Splits of more than `DECODED_BYTES` are decoded each time, as by the dataset itself.

    Args:
        dataset: The prepared images.
    """

    def __init__(self, dataset: PreparedDataset) -> None:
        super().__init__(dataset.folder, dataset.manifest, shown=dataset.shown)
        self._decoded: dict[Split, dict[str, NDArray[Any]]] = {}

    def examples(self, split: Split) -> Iterator[dict[str, NDArray[Any]]]:
        """Yields batches as `PreparedDataset.examples` does; they are read-only if they come from memory."""
        count = self.count(split)
        if count * int(np.prod(self.image_shape)) * (1 + self.paired) > DECODED_BYTES:
            yield from super().examples(split)
            return
        if split not in self._decoded:
            batches = list(super().examples(split))
            arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
            for array in arrays.values():
                array.setflags(write=False)
            self._decoded[split] = arrays
        for start in range(0, count, READ_BATCH):
            yield {name: array[start : start + READ_BATCH] for name, array in self._decoded[split].items()}
