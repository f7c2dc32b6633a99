"""An answer of any length takes little memory."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.domain import Call
from app.errors import (
    BrokenContract,
    ProviderTimeout,
)
from tests.providers.deadlines import SOON_S
from tests.providers.http import WIDTH, assert_embeds, call, connections, within
from tests.support import stalls
from tests.support.wire import head


@pytest.mark.parametrize("megabytes", [200, 300], ids=["into a buffer", "too large for one"])
def test_announced_length_takes_no_memory(upstream, provider, megabytes):
    """The test reads the resident memory of the process, which counts pages that are written to."""
    asked = Call("model", ["x"] * 300, None)  # of any width: up to 300 MB may come
    before = resident()

    def announce(exchange):
        exchange.send(head(200, {"Content-Length": str(megabytes * 2**20)}) + b"{")
        seen.append(resident())

    seen = []
    upstream.script(announce)
    with pytest.raises(ProviderTimeout):
        provider.embed(asked, within(SOON_S))
    assert max([*seen, resident()]) - before < 100 * 2**20


def resident():
    """Return the resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def zipped(exchange):
    body = json.dumps(exchange.answer()).encode()
    exchange.reply(200, gzip.compress(body), Content_Encoding="gzip")


def test_unrequested_compressed_answer_is_read(upstream, provider):
    upstream.always(zipped)
    assert_embeds(provider, "a", "b")
    assert_embeds(provider, "c")
    assert len(set(connections(upstream))) == 1


BOMB = gzip.compress(b" " * 2**26, 1)


def endless_length(exchange):
    """An endless body with a Content-Length."""
    exchange.send(head(200, {"Content-Length": str(2**40)}))
    while not exchange.closed_within(0):
        exchange.send(b" " * 65536)
    exchange.last = True


def endless_chunks(exchange):
    """An endless body in chunks."""
    exchange.send(head(200, {"Transfer-Encoding": "chunked"}))
    while not exchange.closed_within(0):
        exchange.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
    exchange.last = True


def endless_error(exchange):
    """An endless error."""
    exchange.send(head(400, {}) + b'{"error": "')
    while not exchange.closed_within(0):
        exchange.send(b"x" * 65536)
    exchange.last = True


ENDLESS = {
    "flood": stalls.flood,
    "announced": endless_length,
    "chunks": endless_chunks,
    "error": endless_error,
    "bomb": lambda e: e.reply(200, BOMB, Content_Encoding="gzip"),
}


@pytest.mark.parametrize("width", [WIDTH, 10**12], ids=["width", "absurd width"])
@pytest.mark.parametrize("endless", ENDLESS)
def test_endless_answer_takes_little_memory(upstream, provider, endless, width):
    """Its limit does not depend on `dimensions`, which a caller can set to any integer."""
    upstream.script(ENDLESS[endless])
    asked = replace(call(), width=width)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenContract):
            provider.embed(asked, within())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert_embeds(provider)
