"""What a shared cache keeps: an entry and when it ends, as bytes that show if they are spoiled.

Pure functions. Layout, little-endian: version (1 byte), checksum (4), tokens (4), end in
milliseconds since 1970 (8), then the vector's float32 bytes. The checksum covers the key too, so
that a value in the wrong place is as good as none.
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
_COVERED = struct.calcsize("<BI")  # where that which the checksum covers begins
_MAX_TOKENS = 2**32 - 1


def encode(key: bytes, entry: Entry, ends: float) -> bytes:
    """``ends`` in seconds since 1970."""
    tokens, end = min(entry.tokens, _MAX_TOKENS), int(ends * 1000)
    rest = _HEAD.pack(VERSION, 0, tokens, end)[_COVERED:] + entry.row
    return _HEAD.pack(VERSION, crc32(rest, crc32(key)), tokens, end)[:_COVERED] + rest


def decode(key: bytes, value: bytes, width: int | None) -> tuple[Entry, float] | None:
    """The entry and its end, or None for a value that is not ours, spoiled, or of another width.

    ``width`` None: any whole number of float32 values.
    """
    size = len(value) - _HEAD.size
    if size <= 0 or (size % BYTES_PER_VALUE if width is None else size != width * BYTES_PER_VALUE):
        return None
    version, checksum, tokens, end = _HEAD.unpack_from(value)
    if version != VERSION or checksum != crc32(memoryview(value)[_COVERED:], crc32(key)):
        return None
    return Entry(value[_HEAD.size :], tokens), end / 1000
