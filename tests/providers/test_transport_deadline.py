"""The deadline of an exchange holds whatever the provider does, and may move meanwhile."""

import threading
import time

import pytest

from app.errors import ConnectionFailed, ProviderError, ProviderTimeout
from tests.providers.http import (
    WIDTH,
    InThread,
    assert_embeds,
    call,
    listening,
    provider_at,
    within,
)
from tests.support import refusals, stalls
from tests.support.upstream import Upstream, good
from tests.support.wire import read_request

LATE = 0.8  # seconds after the deadline that nothing may take longer


@pytest.fixture(scope="module")
def shared():
    """One provider for all tests here."""
    with Upstream(WIDTH) as upstream:
        yield upstream


@pytest.fixture
def upstream(shared):
    """The provider, good again."""
    shared.reset()
    yield shared
    shared.reset()


@pytest.fixture
def provider(upstream):
    """The proxy's side of it."""
    return provider_at(upstream)


def assert_cut(provider, error, seconds=0.15):
    """The call ends with this error at its deadline, not before and not much later."""
    start = time.monotonic()
    with pytest.raises(error) as caught:
        provider.embed(call(), within(seconds))
    took = time.monotonic() - start
    assert seconds - 0.02 < took < seconds + LATE
    return caught.value


@pytest.mark.parametrize("stall", stalls.STALLS, ids=lambda stall: stall.__name__)
def test_a_stall_is_cut_at_the_deadline_and_its_connection_not_used_again(
    upstream, provider, stall
):
    assert_embeds(provider)
    upstream.script(stall)
    error = assert_cut(provider, ProviderTimeout)
    assert error.message == "did not answer in time"
    assert_embeds(provider)
    before, stalled, after = upstream.calls
    assert stalled.connection == before.connection  # it was a pooled one
    assert after.connection != stalled.connection


def test_a_deadline_that_has_passed_makes_no_call(upstream, provider):
    with pytest.raises(ProviderTimeout, match="had no time left to answer"):
        provider.embed(call(), within(-1))
    assert not upstream.calls


def test_each_exchange_of_a_connection_has_its_own_deadline(upstream, provider):
    assert_embeds(provider, seconds=0.1)
    upstream.script(refusals.delayed(0.2, good))
    assert_embeds(provider, seconds=5)
    upstream.script(stalls.silence)
    assert_cut(provider, ProviderTimeout)


def test_nobody_there():
    with stalls.closed_port() as address:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed) as caught:
            provider_at(address).embed(call(), within())
        assert time.monotonic() - start < LATE
        assert "127.0.0.1" not in caught.value.message


def test_a_connection_that_is_never_made_is_given_up_at_the_deadline():
    with stalls.black_hole() as address:
        assert_cut(provider_at(address), ConnectionFailed)


def test_or_after_its_own_time():
    with stalls.black_hole() as address:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match="did not accept a connection in time"):
            provider_at(address, connect_timeout=0.1).embed(call(), within(10))
        assert time.monotonic() - start < 0.1 + LATE


def test_the_time_to_connect_is_no_time_to_answer(upstream):
    upstream.script(refusals.delayed(0.2, good))
    assert_embeds(provider_at(upstream, connect_timeout=0.05))


def test_a_request_that_is_not_read_is_cut_too():
    over = threading.Event()
    with listening(lambda _: over.wait(5)) as port:
        provider = provider_at(f"http://127.0.0.1:{port}/v1")
        start = time.monotonic()
        with pytest.raises(ProviderTimeout):  # and no ConnectionFailed, which may go on at once
            provider.embed(call("x" * 2**24), within(0.15))
        assert time.monotonic() - start < 0.15 + LATE
        over.set()


def test_a_proxy_that_drips_its_answer_to_connect_is_cut_too():
    over = threading.Event()

    def drip(connection):
        with connection.makefile("rb") as stream:
            read_request(stream)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n")
        while not over.wait(0.05):
            connection.sendall(b"X-Padding: p\r\n")

    with listening(drip) as port:
        provider = provider_at("https://127.0.0.1:9/v1", proxy=f"http://127.0.0.1:{port}")
        task = InThread(provider, within(0.15))
        try:
            assert isinstance(task.join(0.15 + LATE), ProviderError)
        finally:
            over.set()


def test_silence_in_place_of_a_tls_handshake_is_cut_too():
    over = threading.Event()
    with listening(lambda _: over.wait(5)) as port:
        assert_cut(provider_at(f"https://127.0.0.1:{port}/v1"), ProviderError)
        over.set()


def test_a_deadline_may_be_extended_while_the_call_blocks(upstream, provider):
    upstream.script(refusals.delayed(0.3, good))
    deadline = within(0.15)
    task = InThread(provider, deadline)
    upstream.wait_for_calls(1)
    deadline.extend(time.monotonic() + 10)
    assert not isinstance(task.join(), Exception)


def test_an_extension_is_no_licence(upstream, provider):
    upstream.script(stalls.silence)
    deadline = within(0.1)
    start = time.monotonic()
    task = InThread(provider, deadline)
    upstream.wait_for_calls(1)
    deadline.extend(start + 0.3)
    assert isinstance(task.join(), ProviderTimeout)
    assert 0.28 < time.monotonic() - start < 0.3 + LATE


@pytest.mark.parametrize(
    "stall", [stalls.silence, stalls.half_then_stall, stalls.half_head_then_stall, stalls.drip_body]
)
def test_a_cancellation_ends_a_blocked_call_at_once(upstream, provider, stall):
    upstream.script(stall)
    deadline = within(10)
    task = InThread(provider, deadline)
    (seen,) = upstream.wait_for_calls(1)
    start = time.monotonic()
    deadline.cancel()
    assert isinstance(task.join(1), ProviderError)
    assert time.monotonic() - start < LATE
    assert seen.hung_up.wait(1)
    assert_embeds(provider)


def test_a_call_that_was_cancelled_before_it_began_is_not_made(upstream, provider):
    deadline = within(10)
    deadline.cancel()
    with pytest.raises(ProviderError):
        provider.embed(call(), deadline)
    assert not upstream.calls


def test_a_cancellation_after_the_call_does_not_end_the_next_one(upstream, provider):
    """Its connection is another caller's by then."""
    late = within(10)
    provider.embed(call("first"), late)
    go_on = threading.Event()

    def wait_then_good(exchange):
        assert go_on.wait(5)
        good(exchange)

    upstream.script(wait_then_good)
    task = InThread(provider, within(10), "second")
    first, second = upstream.wait_for_calls(2)
    assert first.connection == second.connection
    late.cancel()
    go_on.set()
    result = task.join()
    assert not isinstance(result, Exception), result


def test_no_thread_and_no_socket_stays_behind(upstream):
    provider = provider_at(upstream)
    upstream.script(*[stalls.silence] * 4)
    before = threading.active_count()
    tasks = [InThread(provider, within(0.15)) for _ in range(4)]
    assert all(isinstance(task.join(0.15 + LATE + 0.2), ProviderTimeout) for task in tasks)
    assert all(seen.hung_up.wait(1) for seen in upstream.calls)
    assert threading.active_count() <= before + len(upstream._threads)


def test_a_socket_that_is_closed_already_can_be_cancelled(upstream, provider):
    deadline = within(10)
    provider.embed(call(), deadline)
    provider._adapter.close()
    deadline.cancel()
    assert deadline.cancelled


def test_names_are_looked_up(upstream):
    address = upstream.base_url.replace("127.0.0.1", "localhost")
    assert_embeds(provider_at(address, api_key=upstream.api_key))
