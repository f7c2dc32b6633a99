"""Evaluates scripts on a Redis or Valkey, and tells temporary errors from permanent ones."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

#: The beginning of each script that needs the time. ARGV[1]: now, or "" for the server's clock.
NOW = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""
#: Prefixes of temporary errors: the server cannot save, runs a script, or misses its replicas.
_TEMPORARY = ("MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")


class Script:
    """A script that is evaluated often: its digest is sent, and its text where that is not known.

    redis-py's own `Script` loads the text and asks again: two round trips, where this makes one.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def evaluate(
        self, client: Any, redis_keys: Sequence[str], arguments: Sequence[Any]
    ) -> list[Any]:
        """Return the reply of the script."""
        reply: list[Any]
        try:
            reply = client.evalsha(self._digest, len(redis_keys), *redis_keys, *arguments)
        except NoScriptError:  # the server has restarted and lost its scripts
            reply = client.eval(self._text, len(redis_keys), *redis_keys, *arguments)
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
