"""Callers who check every answer, and note its request id and its status."""

import http.client
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.e2e.plain import Load
from tests.support import settings
from tests.support.vectors import assert_answers

MODEL = "chaos"
TOKENS_OF_A_TEXT = 2  # "text 7", as the provider of the tests counts


class Callers(Load):
    """As `Load`, with embeddings that are checked: a wrong vector is a loss too.

    The clients never try again by themselves. They use the ``secrets`` in turn. ``statuses`` gets
    the status of every answer by its request id; those of other callers may go there too.
    """

    def __init__(
        self,
        port: int,
        clients: int,
        secrets: Sequence[str],
        statuses: dict[str, int],
        pause: float = 0.0,
        **fields: Any,
    ) -> None:
        super().__init__(port, clients)
        self.fields = {"timeout": 20, **fields}
        self.slowest = 0.0
        self.pause = pause
        self.texts: Callable[[], str] = map("text {}".format, itertools.count()).__next__
        self.statuses = statuses
        self.answered_at: dict[str, float] = {}  # of these callers alone, monotonic
        self._secrets = itertools.cycle(secrets)

    def _once(self, connection: http.client.HTTPConnection) -> bool:
        text = self.texts()
        body = json.dumps({"model": MODEL, "input": text, **self.fields}).encode()
        bearer = f"Bearer {next(self._secrets)}"
        headers = {"Authorization": bearer, "Content-Type": "application/json"}
        start = time.monotonic()
        try:
            connection.request("POST", "/v1/embeddings", body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(error)
            return False
        self.slowest = max(self.slowest, time.monotonic() - start)
        request_id = answer.headers["x-request-id"]
        self.statuses[request_id] = answer.status
        self.answered_at[request_id] = time.monotonic()
        try:
            assert answer.status == 200
            assert_answers(json.loads(data), [text], settings.WIDTH)
            self.answered += 1
        except (AssertionError, ValueError, KeyError):
            self.lost.append((answer.status, data[:300]))
        if self.pause:
            time.sleep(self.pause)
        return not answer.will_close

    def seen(self) -> dict[str, Any]:
        """The numbers for a note."""
        kinds = [
            str(loss[0]) if isinstance(loss, tuple) else type(loss).__name__ for loss in self.lost
        ]
        return {
            "answered": self.answered,
            "lost": len(self.lost),
            "kinds": {kind: kinds.count(kind) for kind in set(kinds)},
            "slowest": round(self.slowest, 2),
        }
