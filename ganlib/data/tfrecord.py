"""TFRecord files without TensorFlow, whose import takes longer than the preparation of many a data set.

Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord and
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct

from etils import epy

with epy.lazy_imports():
    import google_crc32c

MASK = 0xA282EAD8
WORD = 2**32
DELIMITED = 2  # wire type of bytes, strings and nested messages
BYTES_LIST, INT64_LIST = 1, 3  # fields of `tf.train.Feature`


def framed(record: bytes) -> bytes:
    """Returns a record as it stands in a file: its length and its bytes, each followed by its checksum."""
    length = struct.pack("<Q", len(record))
    return length + _checksum(length) + record + _checksum(record)


def example(image: bytes, label: int) -> bytes:
    """Returns a serialized `tf.train.Example` with the features `image` and `label`."""
    features = _feature("image", BYTES_LIST, image) + _feature("label", INT64_LIST, _varint(label % 2**64))
    return _field(1, features)


def _feature(name: str, kind: int, value: bytes) -> bytes:
    """An entry of the map from names to features, whose one value is `value`."""
    return _field(1, _field(1, name.encode()) + _field(2, _field(kind, _field(1, value))))


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | DELIMITED]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _checksum(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + MASK) % WORD)
