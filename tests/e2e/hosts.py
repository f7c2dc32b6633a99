"""Two hosts: proxies of two workers each, with the same settings and one Valkey that leases."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support import settings
from tests.support.server import Proxy
from tests.support.valkey import Valkey


@contextmanager
def two_hosts(
    directory: Path,
    worker_class: str,
    valkey: Valkey,
    provider: dict[str, Any],
    model: dict[str, Any],
) -> Iterator[tuple[Proxy, Proxy]]:
    """Start them, with one provider "p" and one model "m"."""
    path = settings.settings_file(
        directory,
        providers={"p": provider},
        models={"m": model},
        keys={"tests": settings.key(settings.KEY, "*")},
        LIMITS={"url": valkey.url},
    )
    directories = [directory / "one", directory / "two"]
    for one in directories:
        one.mkdir()
    first, second = (Proxy(one, path, worker_class=worker_class, workers=2) for one in directories)
    with ExitStack() as stack:
        for host in (first, second):  # both at the same time
            host.launch()
            stack.push(host)
        yield first.wait_until_live(), second.wait_until_live()


def in_threads(
    hosts: tuple[Proxy, Proxy], clients: int, work: Callable[[Proxy, int], None]
) -> None:
    """Call `work` with each host and the number of a client, each in a thread; wait for all."""
    threads = [
        threading.Thread(target=work, args=(host, number))
        for host in hosts
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
