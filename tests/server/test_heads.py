"""The fast path for common heads (`app.server.request`) agrees with gunicorn's parser."""

import copy
import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import errors, get_parser, message
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.server.request import Request

DEFAULTS = Config()
PEER = ("127.0.0.1", 1)
NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Authorization",
        "X-A",
        "X_A",
        "X-",
        "1-X",
        "X-Forwarded-Proto",
        "X-Forwarded-Protocol",
        "X-Forwarded-Ssl",
        "Connection",
        "Trailer",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "x", " x ", "\tx", "x\t", "https", "http", "on", "100-continue", "chunked"]
    ),
    st.integers(0, 10**6).map(str),
    st.text(st.characters(max_codepoint=255), max_size=8),
)
GOOD = st.builds("{}: {}".format, st.sampled_from(["X-A", "X-B", "Accept"]), VALUES)
ODD = st.builds("{}{}{}".format, NAMES, st.sampled_from([":", ": ", " :", ":\t", ""]), VALUES)
LINES = st.one_of(GOOD, GOOD, GOOD, ODD)  # otherwise nearly all heads are refused
LIMITS = st.fixed_dictionaries(
    {
        "limit_request_fields": st.integers(1, 5),
        "limit_request_field_size": st.sampled_from([0, 8, 20, 8190]),
        "forwarded_allow_ips": st.sampled_from(["127.0.0.1", "10.0.0.1", "*"]),
        "header_map": st.sampled_from(["drop", "refuse", "dangerous"]),
    }
)


def seen(kind: type[message.Request], head: bytes, config: Config) -> Any:
    """Return the attributes of a parsed request, or the class of the error."""
    client, server = socket.socketpair()
    with client, server:
        client.sendall(head)
        client.shutdown(socket.SHUT_WR)
        parser = get_parser(config, server, PEER)
        parser.mesg_class = kind
        try:
            made = next(parser)
        except (errors.ParseException, OSError) as error:
            return type(error)
        try:
            body = made.body.read()
        except (errors.ParseException, OSError) as error:
            body = type(error)
        return (
            made.headers,
            (made.method, made.uri, made.path, made.query, made.fragment),
            made.scheme,
            made.version,
            made._expected_100_continue,
            body,
        )


def configured(changes: dict[str, Any]) -> Config:
    """Return the defaults with changes. A `Config` takes longer to make than a head to parse."""
    config = copy.copy(DEFAULTS)
    config.settings = config.settings | {n: config.settings[n].copy() for n in changes}
    for name, value in changes.items():
        config.set(name, value)
    return config


HOST = st.sampled_from([["Host: a"], ["Host: a:80"], ["Host: a"], ["Host: a b"], ["Host:"], []])


def as_rfc_9112(found: Any) -> Any:
    """Return gunicorn's result with the documented changes of `Request` applied."""
    if isinstance(found, type):
        return found
    headers, version = found[0], found[3]
    codings = [value for name, value in headers if name == "TRANSFER-ENCODING"]
    if any(coding.lower() != "chunked" for coding in codings):
        return errors.UnsupportedTransferCoding
    hosts = [value for name, value in headers if name == "HOST"]
    if any(set(host) & set(" \t/\\@?#\xa0\x85") for host in hosts):
        return errors.InvalidHeader
    return errors.InvalidHeader if version >= (1, 1) and not hosts else found


@pytest.mark.no_cover  # it takes longer than the test, and the others reach the same lines
@pytest.mark.timeout(600)  # it takes a minute on a busy machine
@hypothesis_settings(max_examples=3000, deadline=None)
@given(host=HOST, lines=st.lists(LINES, max_size=6), limits=LIMITS)
@example(host=[], lines=["Host: a", "Host: b"], limits={})
@example(host=[], lines=["Host: a", "X-A:  y ", "x-b:", "Content-Length: 2"], limits={})
@example(host=["Host: a"], lines=["Transfer-Encoding: gzip, chunked"], limits={})
@example(host=["Host: a"], lines=["TE: gzip, chunked"], limits={})
@example(
    host=["Host: a"], lines=["X-Forwarded-Proto: https", "X_A: b"], limits={"header_map": "drop"}
)
@example(host=["Host: a"], lines=["A: b\r\n c"], limits={})
@example(host=["Host: a"], lines=["A:" + "b" * 18], limits={"limit_request_field_size": 20})
@example(host=["Host: a"], lines=["A:" + "b" * 16], limits={"limit_request_field_size": 20})
def test_fast_and_gunicorn_parsers_agree(host: list[str], lines: list[str], limits: dict[str, Any]):
    config = configured(limits)
    head = "\r\n".join(["POST /x HTTP/1.1", *host, *lines, "", "ab"]).encode("latin-1")
    assert seen(Request, head, config) == as_rfc_9112(seen(message.Request, head, config))


TARGETS = st.one_of(
    st.sampled_from(["/", "/a", "/a?b=c", "/a?", "/a#d", "*", "a:1", "http://a/b?c", ""]),
    st.text("/a.", max_size=6),
    st.text("/a.~-;:?#%@\\ \xe4", max_size=6).map("/{}".format),
)


@hypothesis_settings(max_examples=2000, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "post", "OPTIONS", "CONNECT", "G\xc4T"]),
    target=TARGETS,
    version=st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 "]),
    conventional=st.booleans(),
)
def test_request_line_is_parsed_as_by_gunicorn(method, target, version, conventional):
    config = configured({"permit_unconventional_http_method": not conventional})
    head = f"{method} {target} {version}\r\nHost: x\r\n\r\n".encode("latin-1")
    assert seen(Request, head, config) == seen(message.Request, head, config)


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        ("HTTP/1.1\r\nHost: x", False),
        ("HTTP/1.1\r\nHost: x\r\nConnection: close", True),
        ("HTTP/1.1\r\nHost: x\r\nConnection: x, CLOSE ", True),
        ("HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close", True),
        ("HTTP/1.1\r\nHost: x\r\nConnection: closed", False),
        ("HTTP/1.0", True),
        ("HTTP/1.0\r\nConnection: Keep-Alive, x", False),
    ],
)
def test_connection_header_decides_whether_it_closes(head: str, closes: bool):
    client, server = socket.socketpair()
    with client, server:
        client.sendall(f"GET / {head}\r\n\r\n".encode())
        parser = get_parser(Config(), server, PEER)
        parser.mesg_class = Request
        assert next(parser).should_close() is closes


def test_common_head_uses_the_fast_parser(monkeypatch: pytest.MonkeyPatch):
    def long_way(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(message.Request, "parse_headers", long_way)
    head = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept-Encoding: gzip\r\n"
        b"User-Agent: OpenAI/Python 3.1.0 (x; y)\r\nAuthorization: Bearer sk-x\r\n"
        b"X-Stainless-Raw-Response: true\r\nContent-Length: 2\r\n\r\n{}"
    )
    headers, *_, body = seen(Request, head, Config())
    assert headers[0] == ("HOST", "127.0.0.1:8000")
    assert headers[4] == ("X-STAINLESS-RAW-RESPONSE", "true")
    assert body == b"{}"


def test_a_peer_is_looked_up_once(monkeypatch: pytest.MonkeyPatch):
    looks = []
    monkeypatch.setattr(message, "_ip_in_allow_list", lambda *args: looks.append(args) or False)
    config, head = Config(), b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\r\n"
    assert [seen(Request, head, config)[2] for _ in range(3)] == ["http"] * 3
    assert len(looks) == 1
    assert seen(Request, head, Config())[2] == "http"  # of another server
    assert len(looks) == 2
