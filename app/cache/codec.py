"""Codec of the shared cache: an entry and its end, as bytes with a checksum.

Pure functions. Layout, little-endian: version (1 byte), checksum (4), tokens (4), end in
milliseconds since 1970 (8), then the vector's float32 bytes. The checksum covers the key too, so
that a value under another key does not pass as its own.
"""

from __future__ import annotations

import struct
from zlib import crc32

from app.domain import Entry
from app.vectors import BYTES_PER_VALUE

#: Changes with the layout. A value of another version is a miss, and is written over.
VERSION = 1
_HEAD = struct.Struct("<BIIQ")
#: Bytes of a value in front of the vector.
VALUE_OVERHEAD_BYTES = _HEAD.size
_COVERED = struct.calcsize("<BI")  # offset of the first byte that the checksum covers
_MAX_TOKENS = 2**32 - 1


def encode(key: bytes, entry: Entry, ends: float) -> bytes:
    """Return the value to store. ``ends`` in seconds since 1970."""
    tokens, end = min(entry.tokens, _MAX_TOKENS), int(ends * 1000)
    rest = _HEAD.pack(VERSION, 0, tokens, end)[_COVERED:] + entry.row
    return _HEAD.pack(VERSION, crc32(rest, crc32(key)), tokens, end)[:_COVERED] + rest


def decode(key: bytes, value: bytes, width: int | None) -> tuple[Entry, float] | None:
    """Return the entry and its end, or None where the value is spoiled or of another width.

    ``width`` None: any whole number of float32 values.
    """
    size = len(value) - _HEAD.size
    if size <= 0 or (size % BYTES_PER_VALUE if width is None else size != width * BYTES_PER_VALUE):
        return None
    version, checksum, tokens, end = _HEAD.unpack_from(value)
    if version != VERSION or checksum != crc32(memoryview(value)[_COVERED:], crc32(key)):
        return None
    return Entry(value[_HEAD.size :], tokens), end / 1000
