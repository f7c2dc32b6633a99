"""gunicorn's gevent and gthread workers, changed only where the API needs it.

``worker_class = "app.server.GeventWorker"`` or ``"app.server.ThreadWorker"``. What differs:

1. Refusals of gunicorn's own (bad request line, headers, framing) are JSON in OpenAI's shape and
   repeat nothing of the request, because it may have a key; nor does the log.
2. A stop loses no request: what has been accepted, or waits to be, is answered; idle connections
   stay open for two seconds, because a client may already send on them.
3. An answer given before the body was read (401, 413) reaches its client: the rest of the body is
   discarded, within bounds, because closing with unread bytes makes the kernel reset the
   connection.
4. A client must send at a minimum rate (see `body`), so that a slow one cannot use a thread for
   ever.
5. HTTP/1 only, to the letter of RFC 9112 where gunicorn is not (see `request`): an offer of h2c is
   ignored. No ``Server: gunicorn``.
6. The head of an answer leaves together with its body. nginx passes a head on as soon as it has
   one, and can repeat a request only until then: an answer in two writes is lost where the worker
   is killed between them (docs/reliability.md has the numbers).
7. A gevent worker accepts its share of the connections that wait, not one in each turn of its loop,
   so that workers have as many connections as others, and none waits for long.

gunicorn imports this in its master, before gevent has patched anything: nothing here may import
requests, nor gevent unless it is the choice.

* `base_worker`: the base class of both workers; `greenlets`: the gevent one; `threads`: the gthread
  one.
* `body`: reads a request at a minimum rate; `request`: parses its head.
* `response_writer`: writes a response; `heap`: keeps its memory for the next.
* `balance`: shares new connections among workers.
* `configuration`: gunicorn's settings and hooks.
* `log`: the format of gunicorn's log.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from app.server.log import JsonLogger as JsonLogger

#: Each imports half of gunicorn, so it is imported at its first use.
_WORKERS = {"GeventWorker": "app.server.greenlets", "ThreadWorker": "app.server.threads"}


def __getattr__(name: str) -> Any:
    """The worker classes."""
    if name not in _WORKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WORKERS[name]), name)
