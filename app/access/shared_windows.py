"""Windows in a Redis or Valkey: exact over all workers and hosts, by its clock.

One script takes all that a request takes: it looks at every window first, so that a refusal takes
nothing, and no other script runs in between. Where the server does not answer nobody is refused:
`app.remote` says how soon, and counts. Corrections are summed up and sent by its thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError

from app.access.windows import Change, Take, Taken, Window, WindowsState
from app.mutex import mutex
from app.remote import Remote

# A window is a hash: w, the period; c, its count; p, the count of the period before.
_LOAD = """
local function load(key, index)
  local kept = redis.call('HMGET', key, 'w', 'c', 'p')
  local period = tonumber(kept[1])
  if period == index then return tonumber(kept[2]), tonumber(kept[3]) end
  if period == index - 1 then return 0, tonumber(kept[2]) end
  return 0, 0
end
"""
_TAKE = (
    _LOAD
    + """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local refused, found = -1, {}
for i, key in ipairs(KEYS) do
  local limit, seconds, cost = tonumber(ARGV[3*i-1]), tonumber(ARGV[3*i]), tonumber(ARGV[3*i+1])
  local index = math.floor(now / seconds)
  local count, before = load(key, index)
  local used = math.floor(before * ((index + 1) * seconds - now) / seconds + count)
  if refused < 0 and used + cost > limit then refused = i - 1 end
  found[i] = {index, count, before, cost, seconds}
end
local reply = {refused, string.format('%.6f', now)}
for i, key in ipairs(KEYS) do
  local index, count, before, cost, seconds = unpack(found[i])
  if refused < 0 then
    count = count + cost
    redis.call('HSET', key, 'w', index, 'c', count, 'p', before)
    redis.call('EXPIREAT', key, (index + 2) * seconds)
  end
  reply[#reply + 1] = index
  reply[#reply + 1] = count
  reply[#reply + 1] = before
end
return reply
"""
)
_TAKE_SHA = sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()
# ARGV: period, amount. What was taken two periods ago counts no more.
_CHANGE = """
local kept = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
if not kept[1] then return end
local place = ({[0] = 'c', [1] = 'p'})[tonumber(kept[1]) - tonumber(ARGV[1])]
if not place then return end
local count = tonumber(place == 'c' and kept[2] or kept[3]) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], place, math.max(0, count))
"""
#: Windows with corrections that wait; those of others are dropped then, and counted.
_MAX_WAITING = 10_000


class SharedWindows:
    """``clock`` None: the server's own, which all workers share; another is for tests.

    The lock guards ``_waiting``; nothing waits under it.
    """

    def __init__(
        self,
        url: str,
        namespace: str = "embeddings",
        timeout: float = 0.05,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._prefix = f"{namespace}:limits:1:"
        self._clock = clock
        self._lock = mutex()
        self._waiting: dict[tuple[str, int], int] = {}  # name and period → amount
        self.unchecked = self.dropped = 0  # takes that nobody decided; corrections lost
        self.remote = Remote(url, timeout, "limits", self._send)

    def take(self, takes: Sequence[Take]) -> Taken | None:
        self.remote.ready()
        names = [self._prefix + take.name for take in takes]
        numbers: list[Any] = [self._clock() if self._clock else ""]
        for _, limit, seconds, cost in takes:
            numbers += (limit, seconds, cost)
        reply = self.remote.call(lambda client: _evaluate(client, names, numbers))
        if reply is None:
            self.unchecked += 1
            return None
        now, counts = float(reply[1]), iter(reply[2:])
        windows = [
            Window(take.limit, take.seconds, next(counts), next(counts), next(counts), now)
            for take in takes
        ]
        return Taken(reply[0], windows)

    def change(self, changes: Sequence[Change]) -> None:
        with self._lock:
            for name, _, index, amount in changes:
                place = (name, index)
                if place in self._waiting or len(self._waiting) < _MAX_WAITING:
                    self._waiting[place] = self._waiting.get(place, 0) + amount
                else:
                    self.dropped += 1
        self.remote.wake()

    def state(self) -> WindowsState:
        return WindowsState(self.unchecked, self.dropped, self.remote.breaker.open)

    def close(self) -> None:
        self.remote.close()

    def _send(self, client: Any, due: bool) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            if hasattr(client, "mget_nonatomic"):  # a cluster's pipelines run no scripts
                for (name, index), amount in waiting.items():
                    client.eval(_CHANGE, 1, self._prefix + name, index, amount)
                return
            pipe = client.pipeline(transaction=False)
            for (name, index), amount in waiting.items():
                pipe.eval(_CHANGE, 1, self._prefix + name, index, amount)
            pipe.execute()
        except BaseException:
            self.dropped += len(waiting)
            raise


def _evaluate(client: Any, names: list[str], numbers: list[Any]) -> list[Any]:
    reply: list[Any]
    try:
        reply = client.evalsha(_TAKE_SHA, len(names), *names, *numbers)
    except NoScriptError:  # a server that has just started
        reply = client.eval(_TAKE, len(names), *names, *numbers)
    return reply
