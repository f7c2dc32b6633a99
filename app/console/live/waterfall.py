"""The steps of a request as the rows of a waterfall: each with its bar on one scale of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

#: Units of the scale: a bar of this width took as long as the request.
SCALE = 1000.0
MIN_WIDTH = 3.0  # of what would be too thin to be seen
TICKS = 4
_TITLES = {
    "read": "Read and admitted",
    "plan": "Planned",
    "lookup": "Looked up in the cache",
    "joined": "Waited for another request",
    "answer": "Answer made",
}
#: Why a call was made, where it is not the first of its texts.
REASONS = {
    "retry": "the same deployment again, after a failure and a pause",
    "fail-over": "another deployment, after a failure",
    "hedge": "another deployment beside a slow call; the first vectors win",
    "late": "another deployment beside a call that takes far longer than others",
    "split": "a part of a call that the provider refused as a whole",
    "again": "once more, as vectors of a deployment that has drifted were dropped",
}


#: Reasons for which a call may follow after a pause.
PAUSED = ("retry", "fail-over", "again")
#: What the classes of segments mean.
KINDS = {
    "own": "the proxy",
    "pause": "a pause after a failure",
    "wait": "waiting",
    "good": "a call that gave vectors",
    "bad": "a failed call",
    "abandoned": "abandoned",
}


class Segment(NamedTuple):
    """A part of a bar: where it begins and how wide it is on the scale, and its class."""

    x: float
    width: float
    kind: str


class Row(NamedTuple):
    """A step. ``took_ms`` is its time, ``waited_ms`` that in a queue, of a call."""

    title: str
    details: list[str]
    reason: str  # of a call, of REASONS; else empty
    result: str  # of a call; else empty
    from_ms: float
    took_ms: float
    waited_ms: float
    segments: list[Segment]


def drawn(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request of `app.observability.live.steps` with what its waterfall is drawn of.

    ``rows``, the times at which the scale has a line, and the classes of all segments.
    """
    width = width_of(request)
    rows = [
        _call(request, step, width) if step["step"] == "call" else _own(step, width)
        for step in request["steps"]
    ]
    kinds = {segment.kind for row in rows for segment in row.segments}
    ticks = [width * n / TICKS for n in range(TICKS + 1)]
    return {**request, "rows": rows, "kinds": kinds, "ticks": ticks}


def width_of(request: Mapping[str, Any]) -> float:
    """Return the milliseconds of the whole scale."""
    ends: list[float] = [request["total_ms"], *(step["to_ms"] for step in request["steps"])]
    return max(0.01, *ends)


def _own(step: Mapping[str, Any], width: float) -> Row:
    """Return the row of a step of the proxy itself."""
    begin, end = step["from_ms"], step["to_ms"]
    title = _TITLES[step["step"]]
    kind = "wait" if step["step"] == "joined" else "own"
    return Row(title, [], "", "", begin, end - begin, 0.0, [_segment(begin, end, width, kind)])


def _call(request: Mapping[str, Any], step: Mapping[str, Any], width: float) -> Row:
    """Return the row of a call: how long it waited for a slot, and how long it took."""
    begin, called, end = step["from_ms"], step["called_ms"], step["to_ms"]
    sent_at = max(begin, min(end if called is None else called, end))
    failed_at = _failed_at(request, step)
    segments = [] if failed_at is None else [_segment(failed_at, begin, width, "pause")]
    if sent_at > begin or called is None:
        segments.append(_segment(begin, sent_at, width, "wait"))
    if called is not None:
        kind = {"vectors": "good", "abandoned": "abandoned"}.get(step["result"], "bad")
        segments.append(_segment(sent_at, end, width, kind))
    return Row(
        f"{step['provider']} / {step['deployment']}",
        _details(request, step),
        step["reason"] if step["reason"] in REASONS else "",
        step["result"],
        begin,
        end - begin,
        sent_at - begin,
        segments,
    )


def _failed_at(request: Mapping[str, Any], step: Mapping[str, Any]) -> float | None:
    """Return when the call failed that this one repeats; None if there was no pause after it."""
    if step["reason"] not in PAUSED:
        return None
    start, stop = step["items"]
    ends = [
        other["to_ms"]
        for other in request["steps"]
        if other["step"] == "call"
        and other["items"][0] < stop
        and start < other["items"][1]
        and other["to_ms"] < step["from_ms"]
    ]
    return max(ends, default=None)


def _details(request: Mapping[str, Any], step: Mapping[str, Any]) -> list[str]:
    details = [_texts(request, *step["items"])]
    if step["requests"] > 1:
        details.append(f"in one call with {step['requests'] - 1} more")
    if step["is_probe"]:
        details.append("a probe of the ejected deployment")
    if step["called_ms"] is None:
        details.append("not sent")
    return details


def _texts(request: Mapping[str, Any], start: int, stop: int) -> str:
    """Return which inputs a call embeds. With a cache they are counted without those found."""
    number, items = stop - start, request["items"]
    if number == items:
        return "1 text" if items == 1 else f"all {items:,} texts"
    if request["cache"] == "partial" or number == 1:
        return f"{number:,} of {items:,} texts"
    return f"texts {start + 1:,} to {stop:,} of {items:,}"


def _segment(begin: float, end: float, width: float, kind: str) -> Segment:
    """Return the segment of a time, wide enough to be seen, and within the scale."""
    shown = max(MIN_WIDTH, SCALE * (end - begin) / width)
    x = min(SCALE * begin / width, SCALE - shown)
    return Segment(round(max(0.0, x), 1), round(shown, 1), kind)
