"""Entries of the shared cache: their names in the server, and their bytes. Pure functions.

The bytes are an entry, its end and its vector space, with a checksum. Layout, little-endian:
version (1 byte), checksum (4), tokens (4), end in milliseconds since 1970 (8), length of the
space's id (1), the id in UTF-8, then the vector's float32 bytes. The checksum covers the key too,
so that a value under another key does not pass as its own.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from zlib import crc32

from app.domain import Entry
from app.vectors import BYTES_PER_VALUE

#: Changes with the layout. A value of another version is a miss, and is written over.
VERSION = 2
_HEAD = struct.Struct("<BIIQB")
#: Bytes of a value in front of the space's id and the vector.
VALUE_OVERHEAD_BYTES = _HEAD.size
_COVERED_FORMAT = "<BI"
_COVERED = struct.calcsize(_COVERED_FORMAT)  # offset of the first byte that the checksum covers
_MAX_TOKENS = 2**32 - 1


def encode(key: bytes, entry: Entry, ends: float, space: bytes) -> bytes:
    """Return the value to store. ``ends`` in seconds since 1970; ``space`` of 255 bytes at most."""
    tokens, end = min(entry.tokens, _MAX_TOKENS), int(ends * 1000)
    rest = _HEAD.pack(VERSION, 0, tokens, end, len(space))[_COVERED:] + space + entry.row
    return struct.pack(_COVERED_FORMAT, VERSION, crc32(rest, crc32(key))) + rest


def decode(key: bytes, value: bytes, width: int | None, space: bytes) -> tuple[Entry, float] | None:
    """Return the entry and its end, or None: spoiled, of another layout, width or space.

    ``width`` None: any whole number of float32 values.
    """
    start = _HEAD.size + len(space)
    size = len(value) - start
    if size <= 0 or (size % BYTES_PER_VALUE if width is None else size != width * BYTES_PER_VALUE):
        return None
    version, checksum, tokens, end, length = _HEAD.unpack_from(value)
    if version != VERSION or length != len(space) or not value.startswith(space, _HEAD.size):
        return None
    if checksum != crc32(memoryview(value)[_COVERED:], crc32(key)):
        return None
    return Entry(value[start:], tokens), end / 1000


class Names:
    """Builds the names of the server's keys: ``namespace:version:space:generation:key``.

    The version is of this layout. The space is a digest of the vector space's id, so that its
    entries share a prefix. The generation changes when a space is cleared, so that what is being
    written at that moment is not found again.
    """

    def __init__(self, namespace: str) -> None:
        self._root = f"{namespace}:2"
        self.generations = f"{self._root}:generations"  # hash: space's digest or "*" → token
        self.workers = f"{self._root}:workers"  # hash: host:pid → report

    def entries(self, space: str | None = None) -> str:
        """Return the pattern of the names of a space's entries, or of all entries."""
        return f"{self._root}:v:{'*' if space is None else digest(space)}:*"

    def prefix(self, space: str, generations: dict[str, str]) -> str:
        """Return the prefix of the names of a space's entries, by the generations now."""
        own = digest(space)
        generation = generations.get("*", "") + generations.get(own, "")
        return f"{self._root}:v:{own}:{generation}:"


def digest(space: str) -> str:
    """Return a short name of a space that needs no escaping."""
    return blake2b(space.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
