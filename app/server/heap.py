"""Lets glibc keep freed memory for the next large answer."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: Free bytes at the end of the heap that glibc keeps, and the size from which it would give a
#: buffer a mapping of its own, which a free returns to the kernel.
_KEPT_BYTES = 24 * 2**20
#: The parameters M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed() -> None:
    """Let glibc keep freed memory for the next answer; other C libraries are unchanged.

    By itself it gives the buffers of a large answer, some 10 MB, back to the kernel and gets them
    again for the next one, page by page: 2,000 page faults, a quarter of the answer's time.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
