"""Evaluates scripts on a Redis or Valkey, and tells temporary errors from refusals."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from app.limits import redis_scripts as scripts

_TAKE_SHA = sha1(scripts.TAKE.encode(), usedforsecurity=False).hexdigest()
#: Prefixes of temporary errors: the server cannot save, runs a script, or misses its replicas.
_TEMPORARY = ("MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")


def evaluate_take(client: Any, redis_keys: list[str], arguments: list[Any]) -> list[Any]:
    """Evaluate the script that takes from windows; return its reply."""
    reply: list[Any]
    try:
        reply = client.evalsha(_TAKE_SHA, len(redis_keys), *redis_keys, *arguments)
    except NoScriptError:  # the server has restarted and lost its scripts
        reply = client.eval(scripts.TAKE, len(redis_keys), *redis_keys, *arguments)
    return reply


def evaluate_all(client: Any, commands: Sequence[Sequence[Any]]) -> list[Exception]:
    """Evaluate scripts; return the errors of those that the server refuses for good.

    Raises any other error; some of the scripts may have been evaluated then.
    """
    if hasattr(client, "mget_nonatomic"):  # a cluster client, whose pipelines cannot run scripts
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(client.eval(*command))
            except ResponseError as error:
                replies.append(error)
    else:
        pipe = client.pipeline(transaction=False)
        for command in commands:
            pipe.eval(*command)
        replies = pipe.execute(raise_on_error=False) if commands else []
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    for failed in errors:
        # Temporary errors have subclasses (read-only, out of memory, loading) or these prefixes.
        if type(failed) is not ResponseError or str(failed).startswith(_TEMPORARY):
            raise failed
    return errors
