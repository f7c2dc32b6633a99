"""Starts a thread that runs at once, under gevent before its caller goes on."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any

from app.concurrency.native_threads import threads_are_greenlets


def start_now(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Run a function in a thread of its own; as a greenlet, until it waits for the first time.

    A greenlet that is started as usual runs after all that has arrived on sockets was handled,
    which takes tens of milliseconds under load. The caller goes on after that instead.
    """
    if not threads_are_greenlets():
        _thread.start_new_thread(function, arguments)
        return
    from gevent import Greenlet, get_hub, getcurrent

    resume = get_hub().loop.run_callback(getcurrent().switch)
    try:
        Greenlet(function, *arguments).switch()
    finally:
        resume.stop()  # where the caller was ended meanwhile
