"""Clients that request embeddings and record the id of every answer."""

import contextlib
import http.client
import json
import time

from tests.e2e.plain import Clients, was_closed
from tests.support.settings import KEY

BODY = json.dumps({"model": "embed", "input": ["a b", "c"], "user": "u-1"}).encode()
#: Of each client between two requests: without, they would use all cores.
PAUSE_S = 0.01
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


class Load(Clients):
    """A context manager. `answered`: request ids and times; `lost`: requests without an answer.

    A refused connection is not lost, nor is a kept one that was closed before the request.
    """

    def __init__(self, port: int, clients: int = 4) -> None:
        super().__init__(port, clients)
        self.answered: dict[str, float] = {}
        self.seconds: list[float] = []

    def _ask(self) -> None:
        while not self._end.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            with contextlib.closing(connection):
                try:
                    connection.connect()
                except OSError:
                    time.sleep(0.05)
                    continue
                connection.auto_open = 0
                while not self._end.is_set() and not was_closed(connection):
                    if not self._once(connection):
                        break
                    time.sleep(PAUSE_S)

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        start = time.monotonic()
        try:
            connection.request("POST", "/v1/embeddings", BODY, HEADERS)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(error)
            return False
        if answer.status != 200:
            self.lost.append((answer.status, body))
        self.answered[answer.headers["x-request-id"]] = time.monotonic()
        self.seconds.append(time.monotonic() - start)
        return not answer.will_close
