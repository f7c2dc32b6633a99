"""Attacks on HTTP parsing, through nginx and without it.

tests/deploy/test_tls.py tries the same by HTTP/2; test_bad_requests has what is refused without
nginx; test_redaction looks for secrets.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.bad_http import BODY, CHUNKED, FRAMING, LENGTH, TYPE, framed
from tests.e2e.nginx_front import Nginx
from tests.support.client import Client
from tests.support.server import Proxy, eventually
from tests.support.settings import KEY

MARK = "/v1/smuggled"
SECOND = f"GET {MARK} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def holding(*lines: str, body: bytes = SECOND) -> bytes:
    """Return a request whose body is a second request for a parser that frames it differently."""
    return framed(TYPE, *lines, body=body)


SIZE = f"Content-Length: {len(SECOND)}"
TRICKS = {
    "a blank before the colon": holding("Transfer-Encoding : chunked", SIZE),
    "a vertical tab before chunked": holding("Transfer-Encoding:\x0bchunked", SIZE),
    "a folded coding": holding("Transfer-Encoding:\r\n chunked", SIZE),
    "an underscore for a hyphen": holding("Transfer_Encoding: chunked", SIZE),
    "a length with an underscore": holding("Content_Length: 0", SIZE),
    "two codings, one header each": holding(CHUNKED, "Transfer-Encoding: identity", SIZE),
    "a quoted coding": holding('Transfer-Encoding: "chunked"', SIZE),
    "chunked in capitals, and a length": holding("TRANSFER-ENCODING: CHUNKED", SIZE),
    "TE instead of a coding": holding("TE: chunked", SIZE),
    "a length with a blank inside": holding(f"Content-Length: {len(SECOND)} 0"),
    "a length with an underscore inside": holding("Content-Length: 4_4"),
    "a chunk size beyond 64 bits": holding(CHUNKED, body=b"1" + b"0" * 17 + b"\r\n" + SECOND),
    "a chunk that ends in LF": holding(CHUNKED, body=b"2\n{}\n0\n\n" + SECOND),
    "an extension with a line feed": holding(CHUNKED, body=b"2;\n{}\r\n0\r\n\r\n" + SECOND),
    "a chunk size behind blanks": holding(CHUNKED, body=b" 2\r\n{}\r\n0\r\n\r\n"),
    "trailers that are a request": holding(CHUNKED, body=b"2\r\n{}\r\n0\r\n" + SECOND),
    "a length declared hop by hop": holding(SIZE, "Connection: close, Content-Length"),
    "an offer of h2c": holding(SIZE, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    "an offer of a websocket": holding(SIZE, "Connection: Upgrade", "Upgrade: websocket"),
    "an expectation": holding(SIZE, "Expect: 100-continue"),
    "another path in a header": holding(SIZE, f"X-Original-URL: {MARK}", f"X-Rewrite-URL: {MARK}"),
    "another method in a header": holding(SIZE, "X-HTTP-Method-Override: GET"),
    "another name of the script": holding(SIZE, f"SCRIPT_NAME: {MARK}", f"Script-Name: {MARK}"),
    "a line break in the path": framed(LENGTH, line=f"POST /v1/x%0d%0a%0d%0aGET%20{MARK} HTTP/1.1"),
    "a whole address for a path": framed(LENGTH, line="POST http://other/v1/x HTTP/1.1"),
    "HTTP/0.9": b"GET /v1/x\r\n\r\n" + SECOND,
    "empty lines first": b"\r\n" * 50 + f"POST {MARK}".encode(),
    **{name: data for name, (_, data) in FRAMING.items() if b"GET /v1/models" not in data},
}


@pytest.fixture(scope="module")
def nginx(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), proxy.port) as nginx:
        yield nginx


@pytest.fixture(params=["through nginx", "without it"])
def entrance(request: pytest.FixtureRequest, nginx: Nginx, proxy: Proxy) -> Client:
    return nginx.client() if "nginx" in request.param else proxy.client()


def test_request_smuggling_makes_no_second_request(entrance: Client, proxy: Proxy):
    """The request is refused or served, but the second request in it is not."""
    for trick, data in TRICKS.items():
        replies = entrance.raw_bytes(data)
        final = replies.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert final.count(b"HTTP/1.1 ") <= 1, (trick, replies)
        assert b"<html" not in replies.lower(), (trick, replies)
        last = entrance.get(f"/v1/after/{trick}".replace(" ", "-"))
    proxy.log_line(last.headers["x-request-id"])
    paths = [str(line.get("path")) for line in proxy.log_lines()]
    seen = [paths[i : i + 2] for i, path in enumerate(paths) if path.startswith(MARK)]
    assert seen == []  # each was sent after an attack


def test_the_next_client_gets_its_own_answer(nginx: Nginx):
    """A poisoned connection to the proxy would return the answer of the attack."""
    for trick in TRICKS.values():
        nginx.client().raw_bytes(trick)
    for i in range(20):
        answer = nginx.client().get("/health/live", X_Request_ID=f"own-{i}")
        assert (answer.status, answer.headers["x-request-id"]) == (200, f"own-{i}")


# Headers of answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "/health/live", None),
        ("GET", "/health/ready", None),
        ("GET", "/v1/models", KEY),
        ("GET", "/v1/models", "sk-wrong"),
        ("GET", "/nowhere", None),
        ("PUT", "/v1/models", None),
        ("POST", "/v1/embeddings", KEY),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
    ],
)
def test_answers_have_no_store_nosniff_and_no_software_name(
    entrance: Client, method: str, path: str, key: str | None
):
    answer = Client(entrance.host, entrance.port, key).request(method, path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"]
    assert answer.headers["server"] in ("nginx", "embeddings-proxy")  # and no version
    values = " ".join(answer.headers.values()).lower()
    assert not any(name in values for name in ("gunicorn", "python", "werkzeug", "flask"))
    assert not {"x-powered-by", "via"} & set(answer.headers)


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", framed("Content-Length: -1")])
def test_errors_before_the_app_have_the_same_headers(entrance: Client, data: bytes):
    answer = entrance.raw(data)
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_foreign_host_header_is_not_repeated(entrance: Client):
    answer = entrance.get("/nowhere", Host="evil.example", X_Forwarded_Host="evil.example")
    assert "evil.example" not in answer.text + str(answer.headers)


# Paths for operators
# -------------------------------------------------------------------------------------

INNER = ["/metrics", "/metrics/", "/v1/providers", "/v1/%70roviders", "/v1/../metrics", "//metrics"]


@pytest.mark.parametrize("path", INNER)
def test_paths_for_operators_are_closed_to_other_addresses(nginx: Nginx, path: str):
    """nginx.conf allows 127.0.0.1; a client at 127.0.0.2 is refused also with the right key."""
    data = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    data += "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nConnection: close\r\n\r\n"
    source = ("127.0.0.2", 0)
    with socket.create_connection(("127.0.0.1", nginx.port), 20, source) as connection:
        connection.sendall(data.encode())
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    assert answer.startswith(b"HTTP/1.1 403 "), answer
    assert b'"code": "not_allowed"' in answer


# Slow clients -------------------------------------------------------------------------------------


@pytest.fixture
def impatient(proxy: Proxy, tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Starts nginx with shorter times: pairs of (text of the file, replacement)."""
    with ExitStack() as stack:

        def start(**changes: str) -> Nginx:
            nginx = Nginx(tmp_path, proxy.port)
            path = tmp_path / "nginx.conf"
            text = path.read_text()
            for name, value in changes.items():
                lines = [line for line in text.splitlines() if line.split()[:1] == [name]]
                assert len(lines) == 1
                text = text.replace(lines[0], f"{name} {value};")
            path.write_text(text)
            return stack.enter_context(nginx)

        yield start


@pytest.mark.parametrize("sent", [b"POST /v1/embeddings HTT", framed(TYPE, LENGTH, body=b"{")])
def test_slow_clients_do_not_reach_the_proxy_and_are_closed(impatient, proxy: Proxy, sent: bytes):
    nginx = impatient(client_header_timeout="1s", client_body_timeout="1s")
    (worker,) = proxy.workers()
    files = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port), 20))
            for _ in range(200)
        ]
        for connection in slow:
            connection.sendall(sent)
        assert nginx.client().get("/health/live").status == 200
        assert len(list(Path(f"/proc/{worker}/fd").iterdir())) < files + 20
        for connection in slow:  # nginx ends each, or else `recv` fails after 20 s
            with suppress(ConnectionResetError):
                while connection.recv(2**16):
                    pass


def test_concurrent_requests_of_an_address_are_limited(impatient):
    nginx = impatient(limit_conn="per_client 5")  # the zone's line is another directive

    def sixth():
        # Five new ones each time: this nginx soon closes slow connections.
        with ExitStack() as stack:
            for _ in range(5):
                slow = stack.enter_context(socket.create_connection(("127.0.0.1", nginx.port), 20))
                slow.sendall(framed(TYPE, LENGTH, body=b"{"))
            answer = nginx.client().get("/nowhere")
            return answer if answer.status == 429 else None

    answer = eventually(sixth, 60)
    assert answer.error["code"] == "rate_limit_exceeded"
    eventually(lambda: nginx.client().get("/health/live").status == 200)
