"""Writes and reads TFRecord files without TensorFlow, whose import takes longer than preparing a small data set.

Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c  # not lazy: the lookup in a lazy module would take longer than a checksum

MASK = 0xA282EAD8
WORD = 2**32
HEAD, TAIL = 12, 4  # bytes before and after a record in a file
DELIMITED = 2  # wire type of bytes, strings and nested messages
BYTES_LIST, INT64_LIST = 1, 3  # fields of `tf.train.Feature`


def frame(record: Sequence[bytes]) -> bytes:
    """Returns a record as it is stored in a file: its length and its bytes, each followed by a checksum.

    Args:
        record: The record in parts, which are copied only once.
    """
    length = struct.pack("<Q", sum(map(len, record)))
    return b"".join((length, _checksum([length]), *record, _checksum(record)))


def example(image: bytes, label: int, target: bytes | None = None) -> tuple[bytes, ...]:
    """Returns a serialized `tf.train.Example` with the features `image`, `label` and of a pair `target`, in parts."""
    if target is None:
        before, after = _around(len(image), label)
        return before, image, after
    numbers = _label_entry(label)
    heads = _entry_head(len(image), b"image"), _entry_head(len(target), b"target")
    length = sum(map(len, (*heads, image, target, numbers)))
    return _head(1, length) + heads[0], image, heads[1], target, numbers


def images(path: Path, size: int, *, paired: bool = False) -> Iterator[bytes]:
    """Yields the images of a file written with `example` and `frame`, each followed by its target if they are paired.

    Args:
        path: The file.
        size: Bytes of an image.
        paired: Whether each image has a target, of as many bytes.
    """
    with path.open("rb") as file:
        while head := file.read(HEAD):
            (length,) = struct.unpack_from("<Q", head)
            record = file.read(length)
            file.seek(TAIL, os.SEEK_CUR)
            start = record.index(_image_head(size)) + len(_image_head(size))
            image = record[start : start + size]
            if paired:
                target = start + size + len(_entry_head(size, b"target"))
                image += record[target : target + size]
            yield image


@functools.lru_cache
def _around(size: int, label: int) -> tuple[bytes, bytes]:
    """Returns the bytes before and after an image in its example; they depend only on its size and label."""
    before = _entry_head(size, b"image")
    after = _label_entry(label)
    return _head(1, len(before) + size + len(after)) + before, after


def _label_entry(label: int) -> bytes:
    """Returns the entry of the label in the map from names to features."""
    numbers = _field(INT64_LIST, _field(1, _varint(label % 2**64)))
    return _field(1, _field(1, b"label") + _field(2, numbers))


def _entry_head(size: int, name: bytes) -> bytes:
    """Returns the bytes of an example before those of an image, without the length of the example."""
    head = _image_head(size, name)
    return _head(1, len(head) + size) + head


def _image_head(size: int, name: bytes = b"image") -> bytes:
    """Returns an entry of the map from names to features, up to the bytes of the image."""
    head = _head(1, size)
    head = _head(BYTES_LIST, len(head) + size) + head
    return _field(1, name) + _head(2, len(head) + size) + head


def _field(number: int, payload: bytes) -> bytes:
    return _head(number, len(payload)) + payload


def _head(number: int, length: int) -> bytes:
    return bytes([number << 3 | DELIMITED]) + _varint(length)


def _varint(value: int) -> bytes:
    """Encodes an integer with seven bits per byte, lowest first; the top bit means that more bytes follow."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _checksum(parts: Sequence[bytes]) -> bytes:
    checksum = functools.reduce(google_crc32c.extend, parts, 0)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + MASK) % WORD)
