"""Features of SqueezeNet (Iandola et al. 2016, https://arxiv.org/abs/1602.07360), pretrained on ImageNet.

A file of three megabytes that is better for colour photos than networks without pretraining. It does not give FID.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from etils import epy
from pydantic import Field

from ganlib import storage
from ganlib.environment import standard_keras
from ganlib.evaluation.extractors.base import FittedExtractor, FixedExtractor
from ganlib.schema import READ

with epy.lazy_imports():
    import h5py
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 96
SQUEEZE_CHANNELS = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}  # of the first convolution of each block
POOLED = (2, 4, 6)  # blocks with pooling before them
MEAN = (103.939, 116.779, 123.68)  # blue, green and red of ImageNet
BATCH = 100


class SqueezeNet(FixedExtractor):
    """Mean of the last feature map of SqueezeNet 1.1: 512 features."""

    kind: Literal["squeezenet"] = "squeezenet"
    weights: str | None = Field(default=None, json_schema_extra=READ)
    """HDF5 file with the weights of the network without its top layer,
    squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5: a path, or a gs://, s3:// or https:// address."""

    @standard_keras()
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Builds the network with the weights of a file."""
        if weights is None and self.weights is None:
            raise ValueError("expected a file with the weights of SqueezeNet. Received: weights=null")
        path = weights or storage.fetch(str(self.weights))
        if path.is_dir():
            raise ValueError(
                f"expected a file with the weights of SqueezeNet. Received: weights={str(path)!r}, a folder"
            )
        try:
            with h5py.File(path) as file:
                network = _network(_Weights(file))
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise ValueError(
                "expected the HDF5 file squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5 with the weights of "
                f"SqueezeNet. Received: weights={str(path)!r} ({error})"
            ) from error
        facts = {"weights_sha256": storage.sha256(path)}
        return FittedExtractor("squeezenet", network, (), facts, resize_mode="clean", batch=BATCH)


class _Weights:
    """The weights of the convolutions in an HDF5 file, by name."""

    def __init__(self, file: h5py.File) -> None:
        self._datasets: dict[str, h5py.Dataset] = {}

        def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                self._datasets[name] = item

        file.visititems(add)  # follows no links, so that nothing outside the file is read

    def convolve(
        self, x: keras.KerasTensor, name: str, width: int, *, side: int = 1, strides: int = 1, padding: str = "same"
    ) -> Any:
        """Applies a convolution with `width` output channels and the weights of the file."""
        layer = keras.layers.Conv2D(
            width, side, strides=strides, padding=padding, activation="relu", name=name.replace("/", "_")
        )
        channels = x.shape[-1]
        x = layer(x)
        layer.set_weights([self._array(name, shape) for shape in ((side, side, channels, width), (width,))])
        return x

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Returns the array of a layer with this shape; arrays with another shape or type are not read."""
        for path, item in self._datasets.items():
            if path.startswith(f"{name}/") and item.shape == shape and _is_contiguous(item):
                array: NDArray[np.float32] = item[()]
                if not np.isfinite(array).all():
                    raise ValueError(f"expected finite values in {path}")
                return array
        raise ValueError(f"expected float32 {list(shape)} in {name}")


def _is_contiguous(item: h5py.Dataset) -> bool:
    """Returns whether the values are float32 in one block of this file: not compressed, and not in another file."""
    return item.dtype == np.float32 and not (item.chunks or item.external or item.is_virtual)


def _network(weights: _Weights) -> keras.Model:
    """Returns a network from images [N, SIDE, SIDE, 3] in 0..255 to (features, unused logits)."""
    images = keras.Input((SIDE, SIDE, 3), name="images")
    x = images[..., ::-1] - np.array(MEAN, np.float32)
    x = weights.convolve(x, "conv1", 64, side=3, strides=2, padding="valid")
    for number, width in SQUEEZE_CHANNELS.items():
        if number in POOLED:
            x = keras.layers.MaxPooling2D(3, 2)(x)
        x = weights.convolve(x, f"fire{number}/squeeze1x1", width)
        expanded = [weights.convolve(x, f"fire{number}/expand{n}x{n}", 4 * width, side=n) for n in (1, 3)]
        x = keras.layers.Concatenate()(expanded)
    features = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, [features, features[:, :1]], name="squeezenet")
