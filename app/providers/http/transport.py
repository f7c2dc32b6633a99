"""HTTP to providers: sends requests by the library requests, which no wire format imports.

One `HttpProvider` per provider keeps its own pool of connections. Nothing is looked up in the
environment: proxies and certificates are settings. requests' timeouts bound one read of the
socket; ours bound the whole call, so that one whose answer comes byte by byte ends in time.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from msgspec.structs import replace
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.poolmanager import PoolManager
from urllib3.util import parse_url

from app.concurrency.deadline import CALL_DEADLINE, Deadline
from app.config import ProviderSettings
from app.domain import Call, Vectors
from app.errors import BrokenContract, ConnectionFailed, NotServed, ProviderError, ProviderTimeout
from app.providers.base import Capabilities, Incoming, Outgoing, WireFormat
from app.providers.http.answers import Answer, MalformedAnswer
from app.providers.http.connection import Pool, StaleConnection, TlsPool, Unsendable
from app.providers.http.sockets import Until
from app.providers.rate_limits import limit_headers, seconds_to_reset

#: What an answer may hold at most: this many bytes for each value of each vector (a float of 17
#: digits with sign, exponent and comma is 25), and as much again for everything around them.
_BYTES_PER_VALUE = 32
_WIDEST = 16_384  # values of a vector, at the most
_OVERHEAD = 2**20
#: Connections of a provider that are kept between calls; further ones are closed after a call.
#: urllib3 makes a place for each of them at the first call: for a million that takes a second.
_MAX_CONNECTIONS_KEPT = 10_000
#: Headers of a wire format that never hold a secret; the values of all others are removed from
#: messages.
_HEADERS_WITHOUT_SECRETS = {"accept", "content-type", "x-amz-date"}


class HttpProvider:
    """A wire format over a pool of connections."""

    def __init__(self, settings: ProviderSettings, wire: WireFormat) -> None:
        self.capabilities: Capabilities = wire.capabilities
        self._wire = wire
        self._base_url = (settings.base_url or wire.base_url or "").rstrip("/")
        self._connect_timeout = settings.connect_timeout
        self._adapter = _Adapter(min(settings.max_concurrency, _MAX_CONNECTIONS_KEPT))
        self._verify: bool | str = settings.ca_bundle or True
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}
        own = {name.lower() for name in settings.headers}
        usual = {
            "Host": _host(self._base_url),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # unpacking costs more than a company network
            "User-Agent": "embeddings-proxy",
        }
        self._headers = {name: usual[name] for name in usual if name.lower() not in own}
        self._headers.update(settings.headers)
        self._secrets = _secrets(settings, self._base_url)

    @property
    def address(self) -> str:
        """Where calls go: for traces, never for clients."""
        return self._base_url

    def limits(self, model: str) -> Capabilities:
        return self._wire.limits(model)

    def load(self) -> None:
        pass

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        token = CALL_DEADLINE.set(deadline)  # for the fetch of credentials
        try:
            outgoing = self._wire.build(call)
        finally:
            CALL_DEADLINE.reset(token)
        answer = self._send(outgoing, call, deadline)
        if 200 <= answer.status < 300:
            vectors = self._wire.parse(answer, call)
            found = limit_headers(answer.headers)
            reset = seconds_to_reset(answer.headers)
            if found is None and reset is None:
                return vectors
            return replace(vectors, limit_resets_in=reset, limit_headers=found)
        secrets = {*self._secrets, *_sent_secrets(outgoing.headers)}
        raise self._wire.refuse(answer, sorted(secrets, key=len, reverse=True))

    def _send(self, outgoing: Outgoing, call: Call, deadline: Deadline) -> Incoming:
        try:
            return self._send_once(outgoing, call, deadline)
        except StaleConnection:  # once: a new connection cannot be stale
            return self._send_once(outgoing, call, deadline, new_connection=True)

    def _send_once(
        self, outgoing: Outgoing, call: Call, deadline: Deadline, new_connection: bool = False
    ) -> Incoming:
        remaining = deadline.remaining()
        if remaining <= 0:
            raise ProviderTimeout("had no time left to answer")
        # For the connection alone: from then on the deadline is kept by `DeadlineSocket`.
        connect = Until(min(self._connect_timeout, remaining))
        connect.deadline, connect.new_connection = deadline, new_connection
        timeout = Timeout(connect=connect, read=None)
        limit = _OVERHEAD + 2 * _BYTES_PER_VALUE * len(call.items) * min(
            call.width or _WIDEST, _WIDEST
        )
        try:
            response: Answer = self._adapter.send(  # type: ignore[assignment]
                self._prepare(outgoing, call),
                stream=True,
                timeout=timeout,  # type: ignore[arg-type]  # its annotation omits what it takes
                verify=self._verify,
                proxies=self._proxies,
            )
            with response:
                body = _body(response, limit)
                if body is None:
                    raise BrokenContract("answered more than its vectors can take")
                return Incoming(response.status, response.headers, body)
        except MalformedAnswer as error:
            raise BrokenContract("answered with what is not HTTP/1.1") from error
        except Unsendable as error:
            raise NotServed("cannot be called as it is configured: see its headers") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _translate(error, late=deadline.remaining() <= 0) from error

    def _prepare(self, outgoing: Outgoing, call: Call) -> requests.PreparedRequest:
        # By hand: `Request.prepare` would look at cookies, authentication and hooks each time.
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = self._base_url + outgoing.path
        headers = {**self._headers, **outgoing.headers}
        if call.headers is not None:
            headers.update(call.headers)
        headers["Content-Length"] = str(len(outgoing.body))
        request.headers = headers  # type: ignore[assignment]  # a dict will do
        request.body = outgoing.body
        return request


def _body(answer: Answer, limit: int) -> bytes | memoryview | None:
    """Return the whole body, uncompressed; None where it has more than ``limit`` bytes.

    The limit applies to the compressed bytes, too.
    """
    body = answer.read(limit)
    coding = answer.headers.get("content-encoding")
    if body is None or coding is None:
        return body
    packed = HTTPResponse(
        io.BytesIO(body), headers={"content-encoding": coding}, preload_content=False
    )
    unpacked = packed.read(limit + 1, decode_content=True)
    return unpacked if len(unpacked) <= limit else None


def _host(base_url: str) -> str:
    """Return the header ``Host`` for an address, as http.client: without the scheme's own port."""
    url = parse_url(base_url)
    usual = {"http": 80, "https": 443}.get(url.scheme or "")
    # Neither the root's dot nor the interface of an IPv6 address means anything to the other side.
    host = re.sub(r"%[^\]]*", "", url.host or "").rstrip(".")
    return host if url.port in (None, usual) else f"{host}:{url.port}"


def session(settings: ProviderSettings) -> requests.Session:
    """Return a session with a provider's proxy and certificates, for a library that needs one."""
    made = requests.Session()
    made.trust_env = False
    made.verify = settings.ca_bundle or True
    if settings.proxy:
        made.proxies = {"http": settings.proxy, "https": settings.proxy}
    return made


def _sent_secrets(headers: Mapping[str, str]) -> set[str]:
    """Return the secrets in the headers of a wire format: keys, and tokens that were fetched."""
    values = {v for name, v in headers.items() if name.lower() not in _HEADERS_WITHOUT_SECRETS}
    values |= {value.partition(" ")[2] for value in values}  # without "Bearer"
    return {text for text in values if len(text) > 3}


def _secrets(settings: ProviderSettings, base_url: str) -> set[str]:
    """Return the values of the settings that must not appear in a message."""
    address = base_url.partition("://")[2]
    host = urlsplit(base_url).hostname
    own = settings.options.get("access_key_id")
    found = {settings.api_key, own, address, address.partition("/")[0], host, settings.proxy}
    found |= {urlsplit(base_url).password, urlsplit(settings.proxy or "").password}
    found.update(settings.headers.values())
    return {text for text in found if text and len(text) > 3}


def _translate(error: Exception, late: bool) -> ProviderError:
    """Return the `ProviderError` of an exception of requests, urllib3 or the system.

    No text of the exception is passed on, as it names addresses. ``late``: the deadline has passed,
    which urllib3 reports as a broken connection where it happens during the send.
    """
    if isinstance(error, requests.ConnectTimeout):
        return ConnectionFailed("did not accept a connection in time")
    if late or isinstance(error, requests.Timeout | ReadTimeoutError | TimeoutError):
        return ProviderTimeout("did not answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return ConnectionFailed("failed the TLS handshake")
    return ConnectionFailed("could not be reached or broke the connection off")


class _Adapter(HTTPAdapter):
    """requests' adapter over pools whose sockets keep a deadline."""

    def __init__(self, pool_maxsize: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_maxsize, max_retries=0)
        self._pool: Any = None

    def build_response(self, _: Any, resp: Any) -> Any:
        return resp  # urllib3's answer: cookies, history and encoding are not used here

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        # Always the same one, and found anew each time for a tenth of a call's CPU.
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_ours(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        _use_ours(manager)
        return manager


def _use_ours(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
