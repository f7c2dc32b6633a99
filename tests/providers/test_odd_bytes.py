"""Whatever bytes come over the connection, the transport raises a `ProviderError`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Call
from app.errors import NotServed, ProviderError
from tests.providers.http import provider_at, within
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def upstream():
    with Upstream(2) as upstream:
        yield upstream


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 400 Bad\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999 \r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200\r\n",
        b"HTTP/9.9 -1 \xff\r\n",
        b"Content-Length: 2\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Content-Length: \xb2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: deflate, gzip, gzip\r\n",
        b"Retry-After: Fri, 31 Dec 99999 23:59:59 GMT\r\n",
        b": \r\n",
        b" \r\n",
        b"\r\n",
        b"2\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"1_0\r\n",
        b"f" * 5000 + b"\r\n",
        b"{}",
        b"\x1f\x8b\x08",
        b"\x00",
        b"x" * 70_000,
    ]
)


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=6))
def test_transport_raises_a_provider_error_for_any_bytes(upstream, pieces):
    def answer(exchange):
        exchange.send(b"".join(pieces))
        exchange.last = True

    upstream.always(answer)
    with pytest.raises(ProviderError):
        provider_at(upstream).embed(Call("m", ["a"], 2), within())


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "\x00", "\u0100", "\ud800"])
def test_invalid_request_header_is_a_provider_error(upstream, value):
    call = Call("m", ["a"], 2, headers={"traceparent": value})
    with pytest.raises(NotServed, match="cannot be called as it is configured"):
        provider_at(upstream).embed(call, within())
