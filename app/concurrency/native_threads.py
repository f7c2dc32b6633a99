"""Native threads for long computations in C that release the interpreter's lock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class NativeThreads:
    """Runs functions in at most ``max_threads`` native threads of its own; the caller waits.

    Under gevent other greenlets run meanwhile. gevent's own pool is not used: look-ups of names
    need its ten threads.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._pool: Any = None  # made in the process that uses it: threads do not survive a fork

    def run(self, function: Callable[[], T], timeout_s: float | None = None) -> T:
        """Return what ``function`` returns, or raise what it raises.

        Raises `TimeoutError` after ``timeout_s``, which includes the wait for a free thread. A
        function that runs by then cannot be stopped: it keeps its thread until it ends.
        """
        if _threads_are_greenlets():
            return self._run_under_gevent(function, timeout_s)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._max_threads, thread_name_prefix="native")
        future = self._pool.submit(function)
        try:
            result: T = future.result(timeout_s)
        finally:
            future.cancel()  # no effect once it runs
        return result

    def _run_under_gevent(self, function: Callable[[], T], timeout_s: float | None) -> T:
        from gevent import Timeout
        from gevent.threadpool import ThreadPool

        if self._pool is None:
            self._pool = ThreadPool(self._max_threads)
        with Timeout(timeout_s, TimeoutError()):
            result: T = self._pool.apply(function)
        return result


def _threads_are_greenlets() -> bool:
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("threading"))
