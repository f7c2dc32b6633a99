"""Minimal HTTP/1.1 framing for the load client and the upstream."""

import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Message:
    """Collects one HTTP message from a socket's pieces and knows when it is complete."""

    __slots__ = ("_missing", "head", "pieces")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Prepare for the next message on the same connection."""
        self.head = b""
        self.pieces: list[bytes] = []
        self._missing = 0  # bytes of the body still to come; -1: chunked, end not seen

    def feed(self, data: bytes) -> bool:
        """Add received bytes; return True when head and body are complete."""
        if self.head:
            self.pieces.append(data)
            if self._missing > 0:
                self._missing -= len(data)
                return self._missing <= 0
            return self._ends_chunked()
        if self.pieces:  # a head in several pieces
            data = self.pieces.pop() + data
        head, gap, rest = data.partition(b"\r\n\r\n")
        self.pieces.append(rest if gap else data)
        if not gap:
            return False
        self.head = head
        if length := _LENGTH.search(head):
            self._missing = int(length[1]) - len(rest)
            return self._missing <= 0
        if _CHUNKED.search(head):
            self._missing = -1
            return self._ends_chunked()
        return True

    def size(self) -> int:
        """Bytes of the body as received, chunk framing included."""
        return sum(map(len, self.pieces))

    def body(self) -> bytes:
        """Return the body without chunk framing."""
        raw = b"".join(self.pieces)
        return raw if self._missing >= 0 else _dechunk(raw)

    def _ends_chunked(self) -> bool:
        tail = b"".join(self.pieces[-2:])[-len(_LAST_CHUNK) :]
        return tail == _LAST_CHUNK or tail == _LAST_CHUNK[2:]


def _dechunk(raw: bytes) -> bytes:
    parts, at = [], 0
    while True:
        end = raw.index(b"\r\n", at)
        size = int(raw[at:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(raw[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
