"""Weights of the network of 2015, from any of the files in which the world keeps them.

Whether they are the canonical ones is told from the hashes of 13 of the 472 tensors, those that were at hand: a file in
which only others were changed passes. Of PyTorch's file the first digits of its own hash are known too, and must agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.evaluation.extractors import graph_file, inception_network, torch_file

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[Any]]

ADDRESS = "https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
MOST_BYTES = 2**28  # the genuine files have 96 million
EPSILON = 1e-3  # what the batch norm adds to the variance
ZIP_MAGIC = b"PK"
PORT_SHA256 = "6726825d"  # how it begins, by the port's file name

BATCH_NORM = {"beta": "bias", "gamma": "weight", "moving_mean": "running_mean", "moving_variance": "running_var"}
PORT_NAMES = (
    {f"{scope}/conv2d_params": f"{port}.conv.weight" for scope, port in inception_network.PORTS.items()}
    | {
        f"{scope}/batchnorm/{own}": f"{port}.bn.{theirs}"
        for scope, port in inception_network.PORTS.items()
        for own, theirs in BATCH_NORM.items()
    }
    | {"softmax/weights": "fc.weight", "softmax/biases": "fc.bias"}
)
"""Names of all 472 tensors in the PyTorch port, by their names in the original graph."""

FINGERPRINTS = {
    "conv/conv2d_params": "4017e8b0e06585540d9e8448f69275deb337e22c965e6b09f5df2a243eae8584",
    "mixed_1/tower/conv_1/conv2d_params": "6be2321d779caaa262a1c09954d087873f67ddb6c4b62be9243b4180a635ec33",
    "mixed_3/tower/conv/conv2d_params": "137fb2b0d059d18cf2b463363ec631253e9544b3a51031300a6479953454f91e",
    "mixed_3/tower/conv_1/conv2d_params": "f325d0a880a8fd3f4281599ea80322dd1c44f6806f3676b9e5da0f396950cfba",
    "conv/batchnorm/moving_mean": "de94a5f1c1dbb5fa59c299990f8105c89109110e7acf9347cd869c52035aa064",
    "conv_1/batchnorm/moving_mean": "a7ab8af9714cfc1d286f73a56dc4fdd8adc3cc288b0878cbb8e5742789c76025",
    "mixed_3/tower/conv/batchnorm/moving_mean": "3388e7917489a3457f42a7f258de9fd939cf027d0619116474543e7ddc6f8601",
    "mixed_3/tower/conv/batchnorm/moving_variance": "6c24d08db398e06f7838ea29e2065672897b325e799bd8383b1b93bdc7f141b0",
    "mixed/conv/batchnorm/beta": "f31d78132bab98fbceabe5c54b548dcf3bc5f466f52f14d68f1eefba7ebb8e9b",
    "mixed_4/conv/batchnorm/beta": "4192ea8935185cac250815eff2e88e107243e179e2baa2171e8ed472b4333492",
    "mixed_6/tower/conv/batchnorm/moving_variance": "8a32686a666d31cbbaec90aac8cb88f5c94354188adf21d17f122d723637333d",
    "mixed_7/tower/conv/batchnorm/beta": "e569b4fbab0b74c9070df9f2b7dba710612daec2b82c1b1fe23070428baba8c9",
    "mixed_8/tower/conv/batchnorm/beta": "5beba012f202a29daa9e1a22e32d714231c2d2c55f2f034ef4884ced07e7f2c1",
}
"""SHA-256 of some genuine tensors, float32 in the graph's layout."""
COMPARED = f"{len(FINGERPRINTS)} of {len(PORT_NAMES)} tensors"


@dataclass(frozen=True)
class Weights:
    """What was in a file of weights.

    Attributes:
        tensors: All of the network's, float32, by name and in layout as the original graph has them: kernels height,
            width, channels in, channels out.
        sha256: Of the file.
        recognised: Whether they are the canonical ones, as far as can be told.
        fingerprints: What was compared with the canonical ones to tell.
    """

    tensors: Tensors
    sha256: str
    recognised: bool
    fingerprints: str

    def fill(self, network: keras.Model) -> None:
        """Puts the weights into a network that `inception_network.build` made; batch norms go into the convolutions."""
        for scope in inception_network.PORTS:
            norm = {own: self.tensors[f"{scope}/batchnorm/{own}"].astype(np.float64) for own in BATCH_NORM}
            scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + EPSILON)
            kernel = self.tensors[f"{scope}/conv2d_params"] * scale
            bias = norm["beta"] - norm["moving_mean"] * scale
            layer = network.get_layer(inception_network.layer_name(scope))
            layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
        network.get_layer("softmax").set_weights([self.tensors["softmax/weights"]])


def read(path: Path) -> Weights:
    """Reads `classify_image_graph_def.pb`, the `.tgz` that holds it, or `pt_inception-2015-12-05-6726825d.pth`.

    Which of them it is shows from the content. Nothing in the file is run.

    Args:
        path: The file.

    Raises:
        ValueError: It is none of them, is damaged, or lacks a tensor.
    """
    try:
        data = _bytes(path)
        tensors = _tensors(data)
        _check(tensors)
    except ValueError as error:
        raise ValueError(f"the Inception weights cannot be read: {error}. Received: path={str(path)!r}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    recognised, compared = not unfamiliar(tensors), COMPARED
    if data.startswith(torch_file.MAGIC):
        recognised = recognised and sha256.startswith(PORT_SHA256)
        compared = f"{COMPARED}, and {len(PORT_SHA256)} digits of the file's SHA-256"
    return Weights(tensors, sha256, recognised, compared)


def canonical() -> Weights:
    """Returns the canonical weights from the cache of downloads, which gets them from `ADDRESS` first if need be.

    A file in the cache is not asked for again, since its content is known.

    Raises:
        ValueError: The cache holds another file in their place.
        storage.RemoteError: They are not in the cache, and cannot be downloaded.
    """
    place = storage.cache_path(ADDRESS)
    if not place.exists():
        try:
            storage.fetch(ADDRESS, check=_check_download)
        except (OSError, ValueError) as error:
            raise storage.RemoteError(
                f"expected the weights of the Inception network at {place}, or a file of them as "
                f"evaluation.inception_weights (--weights of `score`): they cannot be downloaded: {error}"
            ) from error
    found = _whole(place)
    if found is None or not found.recognised:
        raise ValueError(
            "expected the canonical Inception weights; remove this file, and they are downloaded again. "
            f"Received: path={str(place)!r}"
        )
    return found


def _whole(path: Path) -> Weights | None:
    try:
        return read(path)
    except ValueError:
        return None


def _check_download(path: Path) -> None:
    found = _whole(path)
    if found is None or not found.recognised:
        raise storage.RemoteError(
            "what is there is not the file by which FID is defined, or it was changed on the way. "
            f"Received: path={ADDRESS!r}"
        )


def in_graph_layout(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Returns the PyTorch port's tensors as the original graph has them; other names are left out.

    Args:
        tensors: By the port's names; not all need be there.
    """
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}
    found = {own: tensors[theirs] for own, theirs in PORT_NAMES.items() if theirs in tensors}
    return {name: tensor.transpose(axes.get(tensor.ndim)) for name, tensor in found.items()}


def unfamiliar(tensors: Tensors) -> list[str]:
    """Returns the names of the tensors that are missing from, or differ from, those in `FINGERPRINTS`."""
    return [
        name
        for name, sha256 in FINGERPRINTS.items()
        if name not in tensors or hashlib.sha256(tensors[name].astype("<f4").tobytes()).hexdigest() != sha256
    ]


def _bytes(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ValueError(f"expected a file of at most {MOST_BYTES} bytes")
    return path.read_bytes()


def _tensors(data: bytes) -> Tensors:
    if data.startswith(torch_file.MAGIC):
        return in_graph_layout(torch_file.tensors(data))
    if data.startswith(ZIP_MAGIC):
        raise ValueError("a zip, as PyTorch writes since version 1.6; expected the file as it was published")
    if data.startswith(graph_file.GZIP_MAGIC):
        data = graph_file.unpacked(data)
    tensors = graph_file.constants(data, PORT_NAMES)
    for scope, shape in inception_network.kernel_shapes().items():
        tensors.setdefault(f"{scope}/batchnorm/gamma", np.ones(shape[-1:], np.float32))  # a graph may do without
    return tensors


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for scope, shape in inception_network.kernel_shapes().items():
        shapes[f"{scope}/conv2d_params"] = shape
        shapes |= {f"{scope}/batchnorm/{own}": shape[-1:] for own in BATCH_NORM}
    wide, classes = inception_network.FEATURES, inception_network.CLASSES
    return shapes | {"softmax/weights": (wide, classes), "softmax/biases": (classes,)}


def _check(tensors: Tensors) -> None:
    missing = [name for name in PORT_NAMES if name not in tensors]
    if missing:
        raise ValueError(f"expected {len(PORT_NAMES)} tensors by the known names, {len(missing)} lack: {missing[0]}")
    for name, shape in _shapes().items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise ValueError(f"expected {name} to be float32 {list(shape)}, found {tensor.dtype} {list(tensor.shape)}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"expected finite numbers in {name}")
        if name.endswith("moving_variance") and (tensor < 0).any():
            raise ValueError(f"expected no negative number in {name}")
