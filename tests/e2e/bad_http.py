"""Requests with errors outside the body: a table for test_bad_requests."""

import hashlib

from tests.e2e.bad_bodies import GOOD, Case
from tests.support.settings import KEY, NARROW_KEY

BODY = b'{"model": "steady", "input": "hello"}'


def unauthorized(name: str, authorization: str | None, **headers: str) -> Case:
    """A valid request without a known key."""
    return Case(
        f"authorization: {name}",
        GOOD,
        401,
        code="invalid_api_key",
        headers={"Authorization": authorization, **headers},
    )


AUTHORIZATION = [
    unauthorized("none", None),
    unauthorized("empty", ""),
    unauthorized("a scheme and no key", "Bearer"),
    unauthorized("a blank for a key", "Bearer "),
    unauthorized("a wrong key", "Bearer sk-wrong"),
    unauthorized("another scheme", f"Basic {KEY}"),
    unauthorized("no scheme", KEY),
    unauthorized("something behind the key", f"Bearer {KEY} x"),
    unauthorized("two keys", f"Bearer {KEY}, Bearer {KEY}"),
    unauthorized("in capitals", f"Bearer {KEY.upper()}"),
    unauthorized("a part of the key", f"Bearer {KEY[:-1]}"),
    unauthorized("more than the key", f"Bearer {KEY}x"),
    unauthorized("the hash of the key", f"Bearer {hashlib.sha256(KEY.encode()).hexdigest()}"),
    unauthorized("no ASCII", "Bearer schlüssel"),
    unauthorized("very long", "Bearer " + "k" * 5000),
    unauthorized("a wrong api-key", None, api_key="sk-wrong"),
    unauthorized("an empty api-key", None, api_key=""),
    Case(
        "models without a key",
        b"",
        401,
        code="invalid_api_key",
        path="/v1/models",
        method="GET",
        headers={"Authorization": None},
    ),
    Case(
        "a model without a key",
        b"",
        401,
        code="invalid_api_key",
        path="/v1/models/steady",
        method="GET",
        headers={"Authorization": None},
    ),
    Case(
        "a model that the key may not use",
        {"model": "embed", "input": "hello"},
        403,
        code="model_not_allowed",
        headers={"Authorization": f"Bearer {NARROW_KEY}"},
    ),
    Case(
        "an unknown model with a narrow key",
        {"model": "unknown", "input": "hello"},
        404,
        code="model_not_found",
        headers={"Authorization": f"Bearer {NARROW_KEY}"},
    ),
]

CONTENT_TYPES = [
    Case(
        f"content type {kind}",
        GOOD,
        415,
        code="unsupported_media_type",
        headers={"Content_Type": kind},
    )
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "text/json-no",
        "json",
        "*/*",
    )
]

PATHS = [
    *(
        Case(f"POST {path}", GOOD, 404, code="not_found", path=path)
        for path in (
            "/v1",
            "/v1/embedding",
            "/V1/embeddings",
            "/v1/embeddings/x",
            "/v1/chat/completions",
            "/v1/engines//embeddings",
            "/openai/deployments/embeddings",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/v1/embeddings%00",
            "/%ff",
            "/<script>alert(1)</script>",
        )
    ),
    Case("GET /favicon.ico", b"", 404, code="not_found", path="/favicon.ico", method="GET"),
    *(
        Case(
            f"GET /v1/models/{name}",
            b"",
            404,
            None,
            "does not exist",
            "model_not_found",
            path=f"/v1/models/{name}",
            method="GET",
        )
        for name in ("unknown", "STEADY", "%ff")
    ),
]

METHODS = [
    *(
        Case(f"{method} /v1/embeddings", b"", 405, code="method_not_allowed", method=method)
        for method in ("GET", "PUT", "PATCH", "DELETE", "BREW")
    ),
    *(
        Case(f"{method} {path}", b"", 405, code="method_not_allowed", method=method, path=path)
        for method, path in (
            ("POST", "/"),
            ("POST", "/v1/models"),
            ("DELETE", "/v1/models/steady"),
            ("POST", "/health/live"),
            ("GET", "/embeddings"),
        )
    ),
]

REQUESTS = AUTHORIZATION + CONTENT_TYPES + PATHS + METHODS


def framed(*lines: str, body: bytes = BODY, line: str = "POST /v1/embeddings HTTP/1.1") -> bytes:
    """Return a request with these header lines, plus host and key."""
    headers = [line, "Host: proxy", f"Authorization: Bearer {KEY}", *lines]
    return "\r\n".join([*headers, "", ""]).encode("latin-1") + body


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
TYPE = "Content-Type: application/json"
SMUGGLED = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: proxy\r\n\r\n"

#: Bytes of a request → status of its only answer. gunicorn itself refuses most of them.
FRAMING = {
    "a length and chunks": (400, framed(LENGTH, CHUNKED, body=SMUGGLED)),
    "chunks and a length": (400, framed(CHUNKED, "Content-Length: 6", body=SMUGGLED)),
    "two lengths": (400, framed(LENGTH, "Content-Length: 5")),
    "the same length twice": (400, framed(LENGTH, LENGTH)),
    "a negative length": (400, framed("Content-Length: -5")),
    "a length with a plus": (400, framed(f"Content-Length: +{len(BODY)}")),
    "a length in hexadecimal": (400, framed("Content-Length: 0x25")),
    "a length in words": (400, framed("Content-Length: many")),
    "a list of lengths": (400, framed(f"Content-Length: {len(BODY)}, {len(BODY)}")),
    "an empty length": (400, framed("Content-Length:")),
    "a length in superscript": (400, framed("Content-Length: ²")),
    "an unknown transfer coding": (501, framed("Transfer-Encoding: xchunked")),
    "a transfer coding that is no framing": (400, framed("Transfer-Encoding: gzip")),
    "a transfer coding that we do not decode": (501, framed("Transfer-Encoding: gzip, chunked")),
    "identity before chunks": (501, framed("Transfer-Encoding: identity, chunked")),
    "no host": (400, framed(LENGTH).replace(b"Host: proxy\r\n", b"")),
    "a host that is none": (400, framed(LENGTH).replace(b"proxy", b"pro xy")),
    "a path for a host": (400, framed(LENGTH).replace(b"proxy", b"proxy/x")),
    "chunks twice": (400, framed("Transfer-Encoding: chunked, chunked")),
    "chunks before another coding": (400, framed("Transfer-Encoding: chunked, identity")),
    "chunks in HTTP/1.0": (400, framed(CHUNKED, line="POST /v1/embeddings HTTP/1.0")),
    "a chunk size in words": (400, framed(CHUNKED, TYPE, body=b"zz\r\n{}\r\n0\r\n\r\n")),
    "a negative chunk size": (400, framed(CHUNKED, TYPE, body=b"-2\r\n{}\r\n0\r\n\r\n")),
    "a chunk size with 0x": (400, framed(CHUNKED, TYPE, body=b"0x2\r\n{}\r\n0\r\n\r\n")),
    "an empty chunk size": (400, framed(CHUNKED, TYPE, body=b"\r\n{}\r\n0\r\n\r\n")),
    "a chunk longer than said": (400, framed(CHUNKED, TYPE, body=b"2\r\n{}{}\r\n0\r\n\r\n")),
    "a header without a colon": (400, framed(LENGTH, "Nonsense")),
    "a blank before the colon": (400, framed("Content-Length : 37")),
    "a header without a name": (400, framed(LENGTH, ": value")),
    "a header name in brackets": (400, framed(LENGTH, "X-(a): b")),
    "a folded header": (400, framed(LENGTH, "X-A: b\r\n  c")),
    "a NUL in a header": (400, framed(LENGTH, "X-A: b\0c")),
    "a line feed in a header": (400, framed(LENGTH, "X-A: b\nX-Injected: yes")),
    "a carriage return in a header": (400, framed(LENGTH, "X-A: b\rX-Injected: yes")),
    "two content types": (400, framed(LENGTH, TYPE, "Content-Type: text/plain")),
    "two hosts": (400, framed(LENGTH, "Host: other")),
    "an unknown expectation": (417, framed(LENGTH, "Expect: the-unexpected")),
    "too many headers": (431, framed(LENGTH, *(f"X-{i}: y" for i in range(200)))),
    "a header too long": (431, framed(LENGTH, "X-A: " + "b" * 20_000)),
    "a path too long": (414, framed(LENGTH, line=f"POST /{'p' * 10_000} HTTP/1.1")),
    "a blank in the path": (400, framed(LENGTH, line="POST /v1/ embeddings HTTP/1.1")),
    "a path that is no ASCII": (400, framed(LENGTH, line="POST /v1/é HTTP/1.1")),
    "no version": (400, framed(LENGTH, line="POST /v1/embeddings")),
    "HTTP/9.9": (400, framed(LENGTH, line="POST /v1/embeddings HTTP/9.9")),
    "a version in words": (400, framed(LENGTH, line="POST /v1/embeddings HTTP/one")),
    "a method in lower case": (400, framed(LENGTH, line="post /v1/embeddings HTTP/1.1")),
    "a method in brackets": (400, framed(LENGTH, line="P(ST /v1/embeddings HTTP/1.1")),
    "bare line feeds": (400, framed(LENGTH).replace(b"\r\n", b"\n")),
    "a TLS ClientHello": (400, bytes.fromhex("16030100a5010000a10303") + b"\r\n\r\n"),
    "HTTP/2 without asking": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "words": (400, b"hello, is it you?\r\n\r\n"),
    "a body that ends too early": (400, framed(TYPE, "Content-Length: 500")),
    "chunks that end too early": (400, framed(CHUNKED, TYPE, body=b"25\r\n{")),
}
