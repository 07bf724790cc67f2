"""Weights of the Inception network of 2015, from any of the files that they are published in.

The canonical weights are recognised by the hashes of 13 of the 472 tensors, which are the only known ones: a file in
which only other tensors were changed is accepted. For the PyTorch file, the first digits of the file's hash are known
too and must match.
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
MAX_BYTES = 2**28  # the original files have 96 million
EPSILON = 1e-3  # the batch norm adds it to the variance
ZIP_MAGIC = b"PK"
PORT_SHA256 = "6726825d"  # first digits, from the name of the port's file

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
"""Names of all 472 tensors in the PyTorch port, by name in the original graph."""

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
"""SHA-256 of some canonical tensors, float32 in the layout of the graph."""
COMPARED = f"{len(FINGERPRINTS)} of {len(PORT_NAMES)} tensors"


@dataclass(frozen=True)
class Weights:
    """The content of a file of weights.

    Attributes:
        tensors: All tensors of the network, float32, with the names and layout of the original graph; kernels are
            [height, width, channels in, channels out].
        sha256: Hash of the file.
        recognised: Whether these are the canonical weights, as far as the known hashes show.
        fingerprints: Which hashes were compared.
    """

    tensors: Tensors
    sha256: str
    recognised: bool
    fingerprints: str

    def fill(self, network: keras.Model) -> None:
        """Sets the weights of a network from `inception_network.build`, with batch norms folded into convolutions."""
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

    The format is recognised by the content. No code in the file is run.

    Args:
        path: File of weights.

    Raises:
        ValueError: The file has another format, is damaged, or lacks a tensor.
    """
    try:
        data = _read_bytes(path)
        tensors = _tensors(data)
        _check(tensors)
    except ValueError as error:
        raise ValueError(f"the Inception weights cannot be read: {error}. Received: path={str(path)!r}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    recognised, compared = not unknown_tensors(tensors), COMPARED
    if data.startswith(torch_file.MAGIC):
        recognised = recognised and sha256.startswith(PORT_SHA256)
        compared = f"{COMPARED}, and {len(PORT_SHA256)} digits of the file's SHA-256"
    return Weights(tensors, sha256, recognised, compared)


def canonical() -> Weights:
    """Returns the canonical weights from the download cache; if they are not there, they are downloaded first.

    A cached file is used without asking the server, because its content is checked.

    Raises:
        ValueError: The file in the cache is not the canonical one.
        storage.RemoteError: The weights are not in the cache and cannot be downloaded.
    """
    path = storage.cache_path(ADDRESS)
    if not path.exists():
        try:
            storage.fetch(ADDRESS, check=_check_download)
        except (OSError, ValueError) as error:
            raise storage.RemoteError(
                f"the Inception weights cannot be downloaded: {error}. Download them yourself to {path}, or set "
                "evaluation.inception_weights (`score`: --weights) to a file"
            ) from error
    weights = _read_or_none(path)
    if weights is None or not weights.recognised:
        raise ValueError(
            "expected the canonical Inception weights; delete this file to download them again. "
            f"Received: path={str(path)!r}"
        )
    return weights


def _read_or_none(path: Path) -> Weights | None:
    try:
        return read(path)
    except ValueError:
        return None


def _check_download(path: Path) -> None:
    weights = _read_or_none(path)
    if weights is None or not weights.recognised:
        raise storage.RemoteError(
            "the downloaded file is not the one that defines FID, or it was changed on the way. "
            f"Received: path={ADDRESS!r}"
        )


def to_graph_layout(tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Converts tensors of the PyTorch port to the names and layout of the original graph.

    Args:
        tensors: Tensors by their names in the port. Unknown names are left out; missing ones are allowed.
    """
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}
    renamed = {own: tensors[theirs] for own, theirs in PORT_NAMES.items() if theirs in tensors}
    return {name: tensor.transpose(axes.get(tensor.ndim)) for name, tensor in renamed.items()}


def unknown_tensors(tensors: Tensors) -> list[str]:
    """Returns the names in `FINGERPRINTS` whose tensors are missing or have another hash."""
    return [
        name
        for name, sha256 in FINGERPRINTS.items()
        if name not in tensors or hashlib.sha256(tensors[name].astype("<f4").tobytes()).hexdigest() != sha256
    ]


def _read_bytes(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError(f"expected a file of at most {MAX_BYTES} bytes")
    return path.read_bytes()


def _tensors(data: bytes) -> Tensors:
    if data.startswith(torch_file.MAGIC):
        return to_graph_layout(torch_file.tensors(data))
    if data.startswith(ZIP_MAGIC):
        raise ValueError("a zip file, as PyTorch writes since version 1.6; expected the published file")
    if data.startswith(graph_file.GZIP_MAGIC):
        data = graph_file.unpack(data)
    tensors = graph_file.constants(data, PORT_NAMES)
    for scope, shape in inception_network.kernel_shapes().items():
        tensors.setdefault(f"{scope}/batchnorm/gamma", np.ones(shape[-1:], np.float32))  # optional in a graph
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
        raise ValueError(
            f"expected {len(PORT_NAMES)} tensors with the known names, {len(missing)} are missing: {missing[0]}"
        )
    for name, shape in _shapes().items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise ValueError(f"expected {name} to be float32 {list(shape)}, found {tensor.dtype} {list(tensor.shape)}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"expected finite values in {name}")
        if name.endswith("moving_variance") and (tensor < 0).any():
            raise ValueError(f"expected no negative values in {name}")
