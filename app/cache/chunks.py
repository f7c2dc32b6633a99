"""The number of keys that a large look-up asks the shared cache for at once.

An answer that is still being read when the timeout of a look-up ends is lost as a whole. So a large
look-up goes in chunks, one after another, and the chunks received before the timeout are used. A
chunk should take a small share of the timeout: its size follows the time of the last chunks, as the
window of a TCP connection does. At most one chunk of a look-up is in flight.
"""

from __future__ import annotations

#: Bytes of the values in a chunk: the first, the least and the most.
START_BYTES = 16 * 2**10
MIN_BYTES = 8 * 2**10
MAX_BYTES = 512 * 2**10
#: Keys of a chunk, however small their values are.
MAX_KEYS = 512
#: Bytes of a value where the width of the vectors is not known: those of 4,096 numbers.
ASSUMED_VALUE_BYTES = 16 * 2**10


def next_size(size: int, received: int, took_s: float, timeout_s: float) -> int:
    """Return the bytes for the next chunk, after one that brought ``received`` bytes.

    There are four cases: (1) a chunk that was not even half full says nothing of the size; (2) one
    that took more than half of the timeout was too large: the next should take a quarter;
    (3) one that took less than a quarter was small: the size is doubled; (4) else it stays.
    """
    if received < size / 2:
        return size
    if took_s > timeout_s / 2:
        share = max(timeout_s / 4 / took_s, 1 / 8)
        return max(MIN_BYTES, int(size * share))
    if took_s < timeout_s / 4:
        return min(MAX_BYTES, size * 2)
    return size


class ChunkSize:
    """The size of the next chunk of one server, over all look-ups of this process.

    It has no lock: where two threads record a chunk at once, one of the two may not count, and the
    next chunks correct that.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.bytes = START_BYTES

    def keys(self, value_bytes: int | None) -> int:
        """Return how many keys to ask for, by the size of a value (None: not known)."""
        return min(MAX_KEYS, max(1, self.bytes // (value_bytes or ASSUMED_VALUE_BYTES)))

    def record(self, received: int, took_s: float) -> None:
        """Learn from a chunk that brought so many bytes in so many seconds."""
        self.bytes = next_size(self.bytes, received, took_s, self._timeout_s)
