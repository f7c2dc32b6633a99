"""Single HTTP requests: no pool, no retry, no default headers."""

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import Any

IDLE_CLIENT_TIMEOUT_S = 30  # maximum seconds that a test waits for an answer


@dataclass(frozen=True)
class Answer:
    """An answer; its header names are in lower case."""

    status: int
    headers: dict[str, str]
    text: str
    seconds: float  # from the start of the request to the end of the answer

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.text)

    @property
    def error(self) -> dict[str, Any]:
        """The error of the body, which must have OpenAI's format."""
        assert self.headers["content-type"].startswith("application/json"), self.text
        assert self.json.keys() == {"error"}, self.text
        error = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}, self.text
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        return error

    @property
    def embeddings(self) -> list:
        """The embeddings of a good answer, in the order of the answer."""
        assert self.status == 200, self.text
        return [entry["embedding"] for entry in self.json["data"]]


@dataclass(frozen=True)
class Client:
    """A client of the proxy with one key, or with none."""

    host: str
    port: int
    key: str | None = None

    def embed(self, model: str, value: Any, **fields: Any) -> Answer:
        """Request embeddings. A field whose name Python reserves goes in `**{"pass": …}`."""
        return self.post({"model": model, "input": value, **fields})

    def post(self, body: Any, path: str = "/v1/embeddings", **headers: str | None) -> Answer:
        """POST a body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, data, **{"Content_Type": "application/json", **headers})

    def get(self, path: str, **headers: str | None) -> Answer:
        """GET a path."""
        return self.request("GET", path, **headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Answer:
        """Send a request. Underscores in header names stand for hyphens; None removes a header."""
        fields = {"Authorization": f"Bearer {self.key}" if self.key else None, **headers}
        sent = {n.replace("_", "-"): value for n, value in fields.items() if value is not None}
        start = time.monotonic()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=IDLE_CLIENT_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            return _answer(connection.getresponse(), start)

    def raw(self, data: bytes, *, finish: bool = False) -> Answer:
        """Send bytes of a POST; return the first answer. `finish`: then close the sending side."""
        start = time.monotonic()
        with self._sent(data, finish) as connection:
            response = http.client.HTTPResponse(connection, method="POST")
            with contextlib.closing(response):
                response.begin()
                return _answer(response, start)

    def raw_bytes(self, data: bytes, *, finish: bool = True) -> bytes:
        """Send bytes; return all bytes until the proxy closes the connection.

        `finish`: close the sending side, for which the proxy takes a slow request to be withdrawn.
        """
        with self._sent(data, finish) as connection, connection.makefile("rb") as stream:
            return stream.read()

    def _sent(self, data: bytes, finish: bool) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), timeout=IDLE_CLIENT_TIMEOUT_S)
        # A server that refuses early may close before it has read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        return connection


def _answer(response: http.client.HTTPResponse, start: float) -> Answer:
    text = response.read().decode()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, text, time.monotonic() - start)
