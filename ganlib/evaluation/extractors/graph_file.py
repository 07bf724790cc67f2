"""Reads the constants of a frozen TensorFlow graph, plain or in a .tgz, without importing or running the graph."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from etils import epy

with epy.lazy_imports():
    import numpy as np
    from google.protobuf import message
    from tensorflow.core.framework import graph_pb2, types_pb2

if TYPE_CHECKING:
    from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
GRAPH = "classify_image_graph_def.pb"
MAX_UNPACKED = 2**28  # bytes; the original archive unpacks to less than half of it


def unpack(data: bytes) -> bytes:
    """Unpacks the graph from a gzipped tar, in memory and only up to `MAX_UNPACKED` bytes.

    Args:
        data: Bytes of the archive.

    Raises:
        ValueError: The archive is damaged, truncated or too large, or has no graph.
    """
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            plain = stream.read(MAX_UNPACKED + 1)
        if len(plain) > MAX_UNPACKED:
            raise ValueError(f"the archive unpacks to more than {MAX_UNPACKED} bytes")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                sized = 0 <= member.size <= MAX_UNPACKED and archive.offset >= member.offset_data
                if not sized or member.issparse():  # a hole may be of any size, and tarfile may go backwards
                    raise tarfile.ReadError(f"a member of {member.size} bytes at byte {member.offset}")
                if member.isreg() and member.name.rpartition("/")[2] == GRAPH:
                    graph = archive.extractfile(member)
                    return graph.read() if graph else b""
    except (EOFError, OverflowError, RecursionError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise ValueError(f"the archive is damaged or truncated: {error}") from error
    raise ValueError(f"expected {GRAPH} in the archive")


def constants(data: bytes, names: Container[str]) -> dict[str, NDArray[Any]]:
    """Returns the float32 constants of a graph.

    Args:
        data: Bytes of a GraphDef.
        names: Names of the constants to return; missing ones are left out.

    Returns:
        float32 arrays by name. They may be read-only views.

    Raises:
        ValueError: The bytes are not a graph, or the values of a constant do not match its shape.
    """
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(data)
    except message.DecodeError as error:
        raise ValueError("not a TensorFlow graph, or a damaged or truncated one") from error
    nodes = (node for node in graph.node if node.op == "Const" and node.name in names)
    tensors = {node.name: node.attr["value"].tensor for node in nodes}
    return {name: _array(name, tensor) for name, tensor in tensors.items() if tensor.dtype == types_pb2.DT_FLOAT}


def _array(name: str, tensor: Any) -> NDArray[np.float32]:
    """Returns the values of a constant; a single value is broadcast without a copy, so a huge shape takes no memory."""
    shape = tuple(axis.size for axis in tensor.tensor_shape.dim)
    content = tensor.tensor_content
    try:
        values = np.frombuffer(content, "<f4") if content else np.array(tensor.float_val, "<f4")
        return np.broadcast_to(values, shape) if values.size == 1 else values.reshape(shape)
    except ValueError as error:
        raise ValueError(f"the number of values of the constant {name!r} does not match its shape") from error
