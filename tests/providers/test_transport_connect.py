"""Connecting ends by the deadline and at a cancellation: DNS, TCP, proxy and TLS."""

import contextlib
import socket
import sys
import threading
import time

import pytest

from app.concurrency import threads
from app.errors import ConnectionFailed, ProviderError
from app.providers.http import opening
from tests.providers.deadlines import LATE_S, SOON_S
from tests.providers.http import (
    InThread,
    assert_embeds,
    call,
    listening,
    provider_at,
    within,
    without_threads,
)
from tests.support.server import eventually
from tests.support.upstream import Upstream

NAME = "http://provider.test:9/v1"


@contextlib.contextmanager
def dripping_tls():
    """The URL of a server that sends a long TLS record byte by byte."""
    over = threading.Event()

    def drip(connection):
        connection.recv(65536)
        connection.sendall(b"\x16\x03\x03\x3f\xff")  # a handshake record of 16,383 bytes
        while not over.wait(0.03):
            connection.sendall(b"\x02")

    with listening(drip) as port:
        yield f"https://127.0.0.1:{port}/v1"
        over.set()


@contextlib.contextmanager
def silent_tls():
    """The URL of a server that accepts and never sends TLS."""
    over = threading.Event()
    with listening(lambda _: over.wait(60)) as port:
        yield f"https://127.0.0.1:{port}/v1"
        over.set()


@contextlib.contextmanager
def black_holes(monkeypatch):
    """The URL of a name with four IP addresses, none of which accepts a connection."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(2, 6):
            listener = stack.enter_context(socket.socket())
            listener.bind((f"127.0.0.{number}", 0))
            listener.listen(0)
            for _ in range(3):  # the backlog is full after one or two
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname()))
        resolve(monkeypatch, lambda *_: found)
        yield NAME


@contextlib.contextmanager
def hung_dns(monkeypatch):
    """The URL of a name whose look-up never ends."""
    is_over = False

    def hang(_):
        while not is_over:
            native_sleep(0.02)
        raise socket.gaierror(socket.EAI_AGAIN, "hung")

    resolve(monkeypatch, hang)
    yield NAME
    is_over = True


def native_sleep(seconds):
    """Block the whole native thread, as the C library does, also under gevent."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        get_original("time", "sleep")(seconds)
    else:
        time.sleep(seconds)


def resolve(monkeypatch, answer):
    """Let ``answer`` look up names; IP addresses are not looked up."""
    real = opening.getaddrinfo

    def getaddrinfo(host, port):
        return answer(host) if host == "provider.test" else real(host, port)

    monkeypatch.setattr(opening, "getaddrinfo", getaddrinfo)


@pytest.fixture(params=["silent TLS", "dripping TLS", "black holes", "hung DNS"])
def stuck(request, monkeypatch):
    """Return the URL of a provider to which no connection can be made."""
    made = {
        "silent TLS": silent_tls,
        "dripping TLS": dripping_tls,
        "black holes": lambda: black_holes(monkeypatch),
        "hung DNS": lambda: hung_dns(monkeypatch),
    }[request.param]
    with made() as address:
        yield address


def test_connecting_ends_at_the_deadline(stuck):
    start = time.monotonic()
    with pytest.raises(ProviderError):
        provider_at(stuck, connect_timeout=60).embed(call(), within(SOON_S))
    assert SOON_S - 0.02 < time.monotonic() - start < SOON_S + LATE_S


def test_connecting_ends_at_the_connect_timeout(stuck):
    start = time.monotonic()
    with pytest.raises(ConnectionFailed, match="in time"):
        provider_at(stuck, connect_timeout=0.2).embed(call(), within())
    assert 0.18 < time.monotonic() - start < 0.2 + LATE_S


def test_connecting_ends_at_a_cancellation(stuck):
    deadline = within()
    task = InThread(provider_at(stuck, connect_timeout=60), deadline)
    eventually(lambda: deadline._interrupt is not None)  # a step is running
    deadline.cancel()
    assert isinstance(task.join(LATE_S), ProviderError)


def test_hanging_dns_of_one_provider_does_not_delay_others(monkeypatch):
    with Upstream(32) as upstream, hung_dns(monkeypatch) as address:
        hung = provider_at(address)
        tasks = [InThread(hung, within(0.3)) for _ in range(24)]
        named = upstream.base_url.replace("127.0.0.1", "localhost")
        assert_embeds(provider_at(named, api_key=upstream.api_key), seconds=LATE_S)
        assert all(isinstance(task.join(), ProviderError) for task in tasks)


def test_unknown_host_name_is_a_failed_connection(monkeypatch):
    def unknown(_):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    resolve(monkeypatch, unknown)
    with pytest.raises(ConnectionFailed, match="could not be reached"):
        provider_at(NAME).embed(call(), within())


def test_second_address_is_tried_if_the_first_refuses(monkeypatch):
    with Upstream(32) as upstream:
        pairs = [("127.0.0.9", upstream.port), ("127.0.0.1", upstream.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", pair) for pair in pairs]
        resolve(monkeypatch, lambda *_: found)
        assert_embeds(provider_at(NAME, api_key=upstream.api_key))


@without_threads
def test_name_is_looked_up_where_no_further_thread_can_be_had(no_threads, monkeypatch):
    """That is no fault of the provider, which would be ejected for it."""
    monkeypatch.setattr(threads, "_thread", no_threads)
    with Upstream(32) as upstream:
        named = upstream.base_url.replace("127.0.0.1", "localhost")
        assert_embeds(provider_at(named, api_key=upstream.api_key))
