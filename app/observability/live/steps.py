"""Makes the steps of a story: what happened to a request, in order, with times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain import CallRecord
from app.limits.pricing import NANODOLLARS
from app.observability.live.stories import Story

_ABANDONED = "abandoned"


def describe(story: Story) -> dict[str, Any]:
    """Return a story as JSON can hold it; times of steps are milliseconds since its start."""
    return {
        **row_of(story),
        "service_tier": story.tier,
        "space": story.space or None,
        "message": story.message,
        "cached_tokens": story.cached_tokens,
        "cost_dollars": story.cost / NANODOLLARS,
        "queue_ms": _ms(story.queue_s),
        "upstream_ms": _ms(story.upstream_s),
        "steps": _steps(story),
        "calls_left_out": _left_out(story),
    }


def row_of(story: Story) -> dict[str, Any]:
    """Return a story as a row of a list, without its steps."""
    return {
        "id": story.id,
        "started_at": round(story.ended_at - story.seconds, 3),
        "key": story.key,
        "user": story.user,
        "model": story.model,
        "status": story.status,
        "code": story.code,
        "side": story.side,
        "items": story.items,
        "tokens": story.tokens,
        "cache": story.cache,
        "attempts": story.attempts,
        "total_ms": _ms(story.seconds),
    }


def _left_out(story: Story) -> int:
    """Return how many calls were made that the story does not have."""
    if not story.calls:
        return 0
    known = sum(call.called_at is not None for call in map(CallRecord._make, story.calls))
    return max(0, story.attempts - known)


def _steps(story: Story) -> list[dict[str, Any]]:
    """Return the steps: read, lookup or plan, calls, answer; or read, and what ended it.

    There are four cases after a request was admitted: (1) its calls are known; (2) all its vectors
    came from the cache; (3) it waited for items that another request was having embedded; (4) it
    ended before any call.
    """
    end, admitted = story.seconds, story.admitted_at - story.started
    if not story.admitted_at:
        return [_step("read", 0.0, end)]
    steps = [_step("read", 0.0, admitted)]
    uses_cache = story.cache not in (None, "off")
    calls = sorted(map(CallRecord._make, story.calls), key=lambda call: call.queued_at)
    if calls:
        steps.append(
            _step("lookup" if uses_cache else "plan", admitted, calls[0].queued_at - story.started)
        )
        steps += [_call(story, call, calls) for call in calls]
        ended = max(step["to_ms"] for step in steps) / 1000
        if story.code is None:
            steps.append(_step("answer", ended, end))
    elif story.cache == "hit":
        steps.append(_step("lookup", admitted, end))
    elif uses_cache and not story.attempts:
        steps.append(_step("joined", admitted, end))
    else:
        steps.append(_step("plan", admitted, end))
    return steps


def _call(story: Story, call: CallRecord, calls: Sequence[CallRecord]) -> dict[str, Any]:
    def since_start(at: float) -> float:
        return at - story.started

    called = call.called_at
    return {
        **_step("call", since_start(call.queued_at), since_start(_end(story, call, calls))),
        "called_ms": None if called is None else _ms(since_start(called)),
        "reason": _reason(call, calls),
        "items": [call.start, call.stop],
        "provider": call.source[0],
        "deployment": call.source[1],
        "result": call.result or "vectors",
        "requests": call.requests,
        "is_probe": call.is_probe,
    }


def _end(story: Story, call: CallRecord, calls: Sequence[CallRecord]) -> float:
    """Return when a call ended for its request: an abandoned one when another had brought vectors,
    or the request ended."""
    if call.ended_at is not None:
        return call.ended_at
    end = story.started + story.seconds
    served = [
        other.ended_at
        for other in calls
        if _overlap(call, other) and not other.result and other.ended_at is not None
    ]
    return min([end, *(at for at in served if at >= call.queued_at)])


def _reason(call: CallRecord, calls: Sequence[CallRecord]) -> str:
    """Return why an attempt was made: first, hedge, late, retry, fail-over, split, again."""
    if call.is_hedge:
        return "hedge"
    before = [
        other
        for other in calls
        if other is not call and _overlap(call, other) and other.queued_at < call.queued_at
    ]
    if not before:
        return "first"
    if any(other.ended_at is None or other.ended_at > call.queued_at for other in before):
        return "late"
    last = max(before, key=lambda other: other.ended_at or 0.0)
    if not last.result:
        return "again"  # its vectors were dropped: the deployment had drifted
    if call.stop - call.start < last.stop - last.start:
        return "split"
    return "retry" if call.source == last.source else "fail-over"


def _overlap(call: CallRecord, other: CallRecord) -> bool:
    return call.start < other.stop and other.start < call.stop


def _step(name: str, begin: float, end: float) -> dict[str, Any]:
    begin = max(0.0, begin)
    return {"step": name, "from_ms": _ms(begin), "to_ms": _ms(max(begin, end))}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
