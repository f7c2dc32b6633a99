"""The deadline of a call holds for any behaviour of the provider, and can be extended."""

import threading
import time

import pytest

from app.errors import ConnectionFailed, ProviderError, ProviderTimeout
from tests.providers.deadlines import LATE_S, SOON_S, assert_extended, until_one_succeeds
from tests.providers.http import (
    InThread,
    assert_embeds,
    call,
    listening,
    provider_at,
    within,
)
from tests.support import refusals, stalls
from tests.support.upstream import good
from tests.support.wire import read_request


def assert_cut(provider, error, seconds=SOON_S):
    """Check that the call ends with this error at its deadline."""
    start = time.monotonic()
    with pytest.raises(error) as caught:
        provider.embed(call(), within(seconds))
    took = time.monotonic() - start
    assert seconds - 0.02 < took < seconds + LATE_S
    return caught.value


@pytest.mark.parametrize("stall", stalls.STALLS, ids=lambda stall: stall.__name__)
def test_stall_is_cut_at_the_deadline_and_its_connection_closed(upstream, provider, stall):
    assert_embeds(provider)
    upstream.script(stall)
    error = assert_cut(provider, ProviderTimeout)
    assert error.message == "did not answer in time"
    assert_embeds(provider)
    before, stalled, after = upstream.calls
    assert stalled.connection == before.connection  # it was a pooled one
    assert after.connection != stalled.connection


def test_past_deadline_makes_no_call(upstream, provider):
    with pytest.raises(ProviderTimeout, match="had no time left to answer"):
        provider.embed(call(), within(-1))
    assert not upstream.calls


def test_each_exchange_of_a_connection_has_its_own_deadline(upstream, provider):
    def embed_soon():
        try:
            provider.embed(call(), within(0.2))
        except ProviderTimeout as error:
            raise AssertionError("the machine is busy") from error

    until_one_succeeds(embed_soon)
    upstream.script(refusals.delayed(0.4, good))
    assert_embeds(provider)
    upstream.script(stalls.silence)
    assert_cut(provider, ProviderTimeout)


def test_refused_connection_fails_at_once():
    with stalls.closed_port() as address:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed) as caught:
            provider_at(address).embed(call(), within())
        assert time.monotonic() - start < LATE_S
        assert "127.0.0.1" not in caught.value.message


def test_connecting_ends_at_the_deadline():
    with stalls.black_hole() as address:
        assert_cut(provider_at(address, connect_timeout=60), ConnectionFailed)


def test_connecting_ends_after_connect_timeout():
    with stalls.black_hole() as address:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match="did not accept a connection in time"):
            provider_at(address, connect_timeout=0.1).embed(call(), within())
        assert time.monotonic() - start < 0.1 + LATE_S


def test_connect_timeout_does_not_bound_the_answer(upstream):
    upstream.script(refusals.delayed(0.2, good))
    assert_embeds(provider_at(upstream, connect_timeout=0.05))


def test_unread_request_is_cut_at_the_deadline():
    over = threading.Event()
    with listening(lambda _: over.wait(60)) as port:
        provider = provider_at(f"http://127.0.0.1:{port}/v1")
        start = time.monotonic()
        with pytest.raises(ProviderTimeout):  # not ConnectionFailed, which is retried at once
            provider.embed(call("x" * 2**24), within(SOON_S))
        assert time.monotonic() - start < SOON_S + LATE_S
        over.set()


def test_proxy_that_drips_its_answer_is_cut_at_the_deadline():
    over = threading.Event()

    def drip(connection):
        with connection.makefile("rb") as stream:
            read_request(stream)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n")
        while not over.wait(0.05):
            connection.sendall(b"X-Padding: p\r\n")

    with listening(drip) as port:
        provider = provider_at("https://127.0.0.1:9/v1", proxy=f"http://127.0.0.1:{port}")
        task = InThread(provider, within(SOON_S))
        try:
            assert isinstance(task.join(SOON_S + LATE_S), ProviderError)
        finally:
            over.set()


def test_missing_tls_handshake_is_cut_at_the_deadline():
    over = threading.Event()
    with listening(lambda _: over.wait(60)) as port:
        assert_cut(provider_at(f"https://127.0.0.1:{port}/v1"), ProviderError)
        over.set()


def test_deadline_can_be_extended_during_the_call(upstream, provider):
    until_one_succeeds(lambda: assert_extended(upstream, provider))


def test_extended_deadline_holds(upstream, provider):
    def attempt():
        calls = len(upstream.calls)
        upstream.script(stalls.silence)
        deadline = within(0.2)
        start = time.monotonic()
        task = InThread(provider, deadline)
        upstream.wait_for_calls(calls + 1)
        deadline.extend(start + 0.4)
        assert isinstance(task.join(), ProviderTimeout)
        assert 0.38 < time.monotonic() - start < 0.4 + LATE_S

    until_one_succeeds(attempt)


@pytest.mark.parametrize(
    "stall", [stalls.silence, stalls.half_then_stall, stalls.half_head_then_stall, stalls.drip_body]
)
def test_cancellation_ends_a_blocked_call_at_once(upstream, provider, stall):
    upstream.script(stall)
    deadline = within()
    task = InThread(provider, deadline)
    (seen,) = upstream.wait_for_calls(1)
    deadline.cancel()
    assert isinstance(task.join(LATE_S), ProviderError)
    assert seen.hung_up.wait(20)
    assert_embeds(provider)


def test_call_cancelled_before_its_start_is_not_made(upstream, provider):
    deadline = within()
    deadline.cancel()
    with pytest.raises(ProviderError):
        provider.embed(call(), deadline)
    assert not upstream.calls


def test_cancellation_after_the_call_does_not_end_the_next(upstream, provider):
    """Another call uses its connection by then."""
    late = within()
    provider.embed(call("first"), late)
    go_on = threading.Event()

    def wait_then_good(exchange):
        assert go_on.wait(20)
        good(exchange)

    upstream.script(wait_then_good)
    task = InThread(provider, within(), "second")
    first, second = upstream.wait_for_calls(2)
    assert first.connection == second.connection
    late.cancel()
    go_on.set()
    result = task.join()
    assert not isinstance(result, Exception), result


def test_no_thread_and_no_socket_is_left(upstream):
    provider = provider_at(upstream)
    upstream.script(*[stalls.silence] * 4)
    before = threading.active_count()
    tasks = [InThread(provider, within(SOON_S)) for _ in range(4)]
    assert all(isinstance(task.join(SOON_S + LATE_S), ProviderTimeout) for task in tasks)
    assert all(seen.hung_up.wait(20) for seen in upstream.calls)
    assert threading.active_count() <= before + len(upstream._threads)


def test_closed_socket_can_be_cancelled(upstream, provider):
    deadline = within()
    provider.embed(call(), deadline)
    provider._adapter.close()
    deadline.cancel()
    assert deadline.cancelled


def test_host_names_are_looked_up(upstream):
    address = upstream.base_url.replace("127.0.0.1", "localhost")
    assert_embeds(provider_at(address, api_key=upstream.api_key))
