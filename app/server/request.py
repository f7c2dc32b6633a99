"""gunicorn's parser, with a fast path for common request lines and heads."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from gunicorn.http import errors, message  # type: ignore[import-untyped]

MAX_PEERS_REMEMBERED = 1000
_NOT_IN_HOST = re.compile(r"[\s/\\@?#]")  # characters that are not part of host and port
#: Unambiguous header lines: a name of letters, digits and hyphens, a value of printable ASCII.
#: gunicorn checks all others, line by line.
_USUAL = re.compile(rb"[A-Za-z][A-Za-z0-9-]*:[ -~]*(?:\r\n[A-Za-z][A-Za-z0-9-]*:[ -~]*)*")

#: Unambiguous request lines: a method, an absolute path without query, of unreserved characters and
#: without empty segments, and HTTP/1.1.
_USUAL_LINE = re.compile(rb"(GET|POST|HEAD) (/|(?:/[A-Za-z0-9._~-]+)+) HTTP/1\.1")

#: Headers that gunicorn's policy checks by name, besides those about the client's scheme.
_POLICY_HEADERS = message.RFC9110_5_3_SINGLETON_FIELDS | {"EXPECT"}


class Request(message.Request):  # type: ignore[misc]
    """gunicorn's request, with a fast path for common heads, and stricter in four points.

    1. HTTP/1.1 without ``Host``, or with one that no host name can be, is refused (RFC 9112, 3.2).
    2. A ``Transfer-Encoding`` other than ``chunked`` alone is refused: gunicorn takes
       ``gzip, chunked`` and hands the app what is still compressed (RFC 9112, 6.1).
    3. ``close`` anywhere in ``Connection`` closes: gunicorn knows only a header that is nothing
       but that word (RFC 9110, 7.6.1).
    4. The client that the PROXY protocol named at a connection's start is that of all its requests:
       gunicorn forgets it after the first.

    nginx does 1 to 3 alike. Each peer is looked up once in the networks of ``forwarded_allow_ips``.
    """

    proxy_protocol_info: dict[str, Any] | None
    _known: ClassVar[dict[tuple[object, str], bool]] = {}

    def __init__(self, cfg: Any, unreader: Any, peer_addr: Any, req_number: int = 1) -> None:
        super().__init__(cfg, unreader, peer_addr, req_number)
        if cfg.proxy_protocol != "off":
            if self.proxy_protocol_info is None:
                self.proxy_protocol_info = unreader.proxy_protocol_info
            unreader.proxy_protocol_info = self.proxy_protocol_info

    def set_body_reader(self) -> None:
        super().set_body_reader()  # which refuses ambiguous framing with a 400
        host = None
        for name, value in self.headers:
            if name == "HOST":
                host = value
            elif name == "TRANSFER-ENCODING" and value.lower() != "chunked":
                raise errors.UnsupportedTransferCoding(value)
        if host is None:
            if self.version >= (1, 1):
                raise errors.InvalidHeader("HOST")
        elif _NOT_IN_HOST.search(host):
            raise errors.InvalidHeader("HOST")

    def should_close(self) -> bool:
        if self.must_close or self.method == "CONNECT":
            return True
        options: list[str] = []
        for name, value in self.headers:
            if name == "CONNECTION":
                options += [option.strip(" \t").lower() for option in value.split(",")]
        if "close" in options:
            return True
        return bool(self.version <= (1, 0)) and "keep-alive" not in options

    def _peer_is_trusted_proxy(self) -> bool:
        if not isinstance(self.peer_addr, tuple):  # a Unix socket
            return True
        key = self.cfg, self.peer_addr[0]
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_PEERS_REMEMBERED:
                self._known.clear()
            known = self._known[key] = super()._peer_is_trusted_proxy()
        return known

    def parse_request_line(self, line_bytes: bytes) -> None:
        usual = _USUAL_LINE.fullmatch(line_bytes)
        if usual is None:
            super().parse_request_line(line_bytes)
            return
        method, path = usual.groups()
        self.method, self.uri = method.decode("ascii"), path.decode("ascii")
        self.path, self.query, self.fragment = self.uri, "", ""
        self.version = (1, 1)

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:
        # If the whole head is within the limit of one field, each field is.
        if (
            from_trailer
            or len(data) + 2 > self.limit_request_field_size
            or not _USUAL.fullmatch(data)
        ):
            return super().parse_headers(data, from_trailer)
        lines = data.decode("ascii").split("\r\n")
        if len(lines) > self.limit_request_fields:
            return super().parse_headers(data, from_trailer)
        seen: set[str] = set()
        scheme_state = [False]
        schemes, forwarded = self._peer_trusted_for_forwarded()
        headers = []
        for line in lines:
            name, _, value = line.partition(":")
            pair = name.upper(), value.strip(" ")
            if pair[0] in _POLICY_HEADERS or pair[0] in schemes:
                # Its result can be ignored: it drops only headers with an underscore in their name.
                self._apply_header_policy(*pair, scheme_state, seen, schemes, forwarded)
            headers.append(pair)
        return headers
