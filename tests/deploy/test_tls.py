"""nginx with TLS in front of the real proxy: HTTP/2, and no request smuggling."""

import json
import ssl
from collections.abc import Iterator

import pytest

from tests.support import http2
from tests.support.nginx_tls import TlsNginx
from tests.support.settings import KEY

BODY = json.dumps({"model": "steady", "input": "hello"}).encode()
GOOD = [(b"authorization", b"Bearer " + KEY.encode()), (b"content-type", b"application/json")]
SMUGGLED = b"GET /v1/models/smuggled HTTP/1.1\r\nHost: proxy\r\n\r\n"


@pytest.fixture(scope="module")
def tls(proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNginx]:
    with TlsNginx(tmp_path_factory.mktemp("tls"), proxy.port) as nginx:
        yield nginx


def ask(tls: TlsNginx, headers=(), body: bytes = BODY, **options) -> http2.Answer:
    with http2.connect(tls.port) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        return http2.post(connection, [*GOOD, *headers], body, **options)


def test_embeddings_are_served_by_http2(tls: TlsNginx, steady):
    answer = ask(tls)
    assert answer.status == 200
    assert len(json.loads(answer.body)["data"]) == 1


def test_streams_of_one_connection_are_served(tls: TlsNginx, steady):
    with http2.connect(tls.port) as connection:
        answers = [http2.post(connection, GOOD, BODY, stream=s) for s in (1, 3, 5)]
    assert [answer.status for answer in answers] == [200, 200, 200]


def test_errors_of_nginx_are_json(tls: TlsNginx):
    answer = ask(tls, [(b"content-length", b"99999999")], b"x")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "request_too_large")


def test_a_body_that_is_too_large_is_refused_in_json(tls: TlsNginx):
    answer = ask(tls, [(b"content-length", b"40000000")], bytes(40_000_000))
    assert answer.status == 413 or answer.cut
    if answer.status:
        assert json.loads(answer.body)["error"]["code"] == "request_too_large"


def test_clients_without_http2_are_served(tls: TlsNginx):
    with http2.connect(tls.port, http2=False) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Strict-Transport-Security: max-age=" in answer


def test_old_tls_is_refused(tls: TlsNginx):
    refused = pytest.raises((ssl.SSLError, ConnectionError))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), refused:
        http2.connect(tls.port, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_plain_http_on_the_tls_port_is_refused_in_json(tls: TlsNginx):
    answer = tls.client().get("/health/live")
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")


TRICKS = {
    "a transfer coding": [(b"transfer-encoding", b"chunked")],
    "a length that is too small": [(b"content-length", b"0")],
    "a length that is too large": [(b"content-length", b"4000")],
    "two lengths": [(b"content-length", b"5"), (b"content-length", b"60")],
    "a line break in a value": [(b"x-a", b"b\r\ntransfer-encoding: chunked")],
    "a line feed in a value": [(b"x-a", b"b\n\n" + SMUGGLED)],
    "a line break in a name": [(b"x-a: b\r\ntransfer-encoding", b"chunked")],
    "a colon in a name": [(b"transfer-encoding: chunked, x", b"y")],
    "a NUL in a value": [(b"x-a", b"b\0c")],
    "a name in capitals": [(b"Transfer-Encoding", b"chunked")],
    "a hop by hop header": [(b"connection", b"authorization"), (b"te", b"chunked")],
    "a second path": [(b":path", b"/v1/models/smuggled")],
    "a pseudo header at the end": [(b"x-a", b"b"), (b":method", b"GET")],
    "an unknown pseudo header": [(b":smuggled", b"yes")],
}


@pytest.mark.parametrize("trick", TRICKS)
def test_request_smuggling_by_http2_is_one_request_or_none(
    tls: TlsNginx, proxy, steady, trick: str
):
    """The proxy sees no request that nginx does not see."""
    answer = ask(tls, TRICKS[trick], b"0\r\n\r\n" + SMUGGLED)
    assert answer.status != 200
    assert answer.status or answer.cut
    mark = ask(tls, path=b"/v1/mark")  # all earlier requests are in the log now
    assert mark.status == 404
    paths = [(line.get("method"), line.get("path")) for line in proxy.log_lines()]
    assert ("GET", "/v1/models/smuggled") not in paths
    assert not steady.calls


def test_a_line_break_in_the_path_makes_no_second_request(tls: TlsNginx, proxy):
    answer = ask(tls, path=b"/v1/embeddings HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED)
    assert answer.status in (0, 400, 404)
    assert not any(line.get("path") == "/v1/models/smuggled" for line in proxy.log_lines())
