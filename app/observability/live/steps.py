"""Makes the steps of a request: what happened to it, in order, with times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.domain import CallRecord
from app.limits.pricing import NANODOLLARS
from app.observability.live.recent_requests import RecentRequest


def describe(request: RecentRequest) -> dict[str, Any]:
    """Return a request as JSON can hold it; times of steps are milliseconds since its start."""
    record = request.record
    return {
        **row_of(request),
        "service_tier": record.service_tier,
        "space": record.space,
        "message": record.error,
        "cached_tokens": record.cached_tokens or 0,
        "cost_dollars": request.cost / NANODOLLARS,
        "queue_ms": record.queue_ms or 0.0,
        "upstream_ms": record.upstream_ms or 0.0,
        "steps": _steps(request),
        "calls_left_out": _left_out(request),
    }


def row_of(request: RecentRequest) -> dict[str, Any]:
    """Return a request as a row of a list, without its steps."""
    record = request.record
    return {
        "id": record.request_id,
        "started_at": round(request.ended_at - record.total_ms / 1000, 3),
        "key": record.key,
        "user": record.user,
        "model": record.model,
        "status": record.status,
        "code": record.error_code,
        "side": request.side,
        "items": record.items or 0,
        "tokens": record.tokens or 0,
        "cache": record.cache,
        "attempts": record.attempts,
        "total_ms": record.total_ms,
    }


def _left_out(request: RecentRequest) -> int:
    """Return how many calls were made that the request does not have."""
    if not request.calls:
        return 0
    known = sum(call.called_at is not None for call in request.calls)
    return max(0, request.record.attempts - known)


def _steps(request: RecentRequest) -> list[dict[str, Any]]:
    """Return the steps: read, lookup or plan, calls, answer; or read, and what ended it.

    There are four cases after a request was admitted: (1) its calls are known; (2) all its vectors
    came from the cache; (3) it waited for items that another request was having embedded; (4) it
    ended before any call.
    """
    end, admitted = request.record.total_ms / 1000, request.admitted_at - request.started
    if not request.admitted_at:
        return [_step("read", 0.0, end)]
    steps = [_step("read", 0.0, admitted)]
    uses_cache = request.record.cache not in (None, "off")
    calls = sorted(request.calls, key=lambda call: call.queued_at)
    if calls:
        steps.append(
            _step(
                "lookup" if uses_cache else "plan", admitted, calls[0].queued_at - request.started
            )
        )
        steps += [_call(request, call, calls) for call in calls]
        ended = max(step["to_ms"] for step in steps) / 1000
        if request.record.error_code is None:
            steps.append(_step("answer", ended, end))
    elif request.record.cache == "hit":
        steps.append(_step("lookup", admitted, end))
    elif uses_cache and not request.record.attempts:
        steps.append(_step("joined", admitted, end))
    else:
        steps.append(_step("plan", admitted, end))
    return steps


def _call(request: RecentRequest, call: CallRecord, calls: Sequence[CallRecord]) -> dict[str, Any]:
    def since_start(at: float) -> float:
        return at - request.started

    called = call.called_at
    return {
        **_step("call", since_start(call.queued_at), since_start(_end(request, call, calls))),
        "called_ms": None if called is None else _ms(since_start(called)),
        "reason": _reason(call, calls),
        "items": [call.start, call.stop],
        "provider": call.source[0],
        "deployment": call.source[1],
        "result": call.result or "vectors",
        "requests": call.requests,
        "is_probe": call.is_probe,
    }


def _end(request: RecentRequest, call: CallRecord, calls: Sequence[CallRecord]) -> float:
    """Return when a call ended for its request: an abandoned one when another had brought vectors,
    or the request ended."""
    if call.ended_at is not None:
        return call.ended_at
    end = request.started + request.record.total_ms / 1000
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
