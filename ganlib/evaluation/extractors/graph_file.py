"""Constants of a frozen TensorFlow graph, or of one in a gzipped tar; nothing of the graph is imported or run."""

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
MOST_UNPACKED = 2**28  # bytes; the genuine archive unpacks to less than half


def unpacked(data: bytes) -> bytes:
    """Returns the graph that lies in a gzipped tar, which is unpacked in memory and only up to `MOST_UNPACKED`.

    Args:
        data: Bytes of the archive.

    Raises:
        ValueError: The archive is damaged, cut off or too large, or holds no graph.
    """
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            plain = stream.read(MOST_UNPACKED + 1)
        if len(plain) > MOST_UNPACKED:
            raise ValueError(f"the archive unpacks to more than {MOST_UNPACKED} bytes")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
            for member in archive:
                sized = 0 <= member.size <= MOST_UNPACKED and archive.offset >= member.offset_data
                if not sized or member.issparse():  # a hole may be of any size, and tarfile may go backwards
                    raise tarfile.ReadError(f"a member of {member.size} bytes at byte {member.offset}")
                if member.isreg() and member.name.rpartition("/")[2] == GRAPH:
                    graph = archive.extractfile(member)
                    return graph.read() if graph else b""
    except (EOFError, OverflowError, RecursionError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise ValueError(f"the archive is damaged or cut off: {error}") from error
    raise ValueError(f"expected {GRAPH} in the archive")


def constants(data: bytes, names: Container[str]) -> dict[str, NDArray[Any]]:
    """Returns float32 constants of a graph.

    Args:
        data: Bytes of a GraphDef.
        names: Nodes to look for; not all need be there.

    Returns:
        Arrays float32 by the names of their nodes; views of what was parsed, or of one repeated value.

    Raises:
        ValueError: The bytes are no graph, or a constant has other values than its shape says.
    """
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(data)
    except message.DecodeError as error:
        raise ValueError("not a TensorFlow graph, or one that is damaged or cut off") from error
    wanted = (node for node in graph.node if node.op == "Const" and node.name in names)
    tensors = {node.name: node.attr["value"].tensor for node in wanted}
    return {name: _array(name, tensor) for name, tensor in tensors.items() if tensor.dtype == types_pb2.DT_FLOAT}


def _array(name: str, tensor: Any) -> NDArray[np.float32]:
    """Returns a constant's values; a shape of any size takes no memory."""
    shape = tuple(axis.size for axis in tensor.tensor_shape.dim)
    content = tensor.tensor_content
    try:
        values = np.frombuffer(content, "<f4") if content else np.array(tensor.float_val, "<f4")
        return np.broadcast_to(values, shape) if values.size == 1 else values.reshape(shape)
    except ValueError as error:
        raise ValueError(f"the constant {name!r} has not as many values as its shape says") from error
