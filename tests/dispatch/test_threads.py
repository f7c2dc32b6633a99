"""Threads that switch between any two instructions: no unexpected exception, no state left.

A race occurs by chance, so each test runs for two seconds, or many times.
"""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import app.cache
import app.dispatch
from app.cache.memory import MemoryCache
from app.concurrency.deadline import Deadline
from app.dispatch import Dispatcher
from app.dispatch.deployments.token_estimate import TokenEstimate
from app.dispatch.quotas.quota import Quota
from app.domain import Call, Caller, EmbeddingRequest, Flow, Source, Tier, Vectors
from app.errors import ClientError, ProviderUnavailable
from app.pipeline import Pipeline
from tests.dispatch.arrangements import Stub, dispatcher, vectors
from tests.dispatch.internals import unpaid
from tests.dispatch.rows import row
from tests.support.server import eventually

SECONDS = 2.0
THREADS = 24
TRACED = tuple(str(Path(package.__file__).parent) for package in (app.dispatch, app.cache))


@contextmanager
def switching_anywhere() -> Iterator[None]:
    """Let new threads yield between any two instructions of dispatch and cache, at random.

    The interpreter alone does so rarely, and never at some instructions.
    """
    dice, before, traced = random.Random(1), sys.getswitchinterval(), threading.gettrace()

    def instruction(frame: FrameType, event: str, _: object) -> Any:
        if event == "opcode" and dice.random() < 0.05:
            time.sleep(1e-5)
        return instruction

    def call(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        frame.f_trace_opcodes = True
        return instruction

    sys.setswitchinterval(1e-5)
    threading.settrace(call)
    try:
        yield
    finally:
        threading.settrace(traced)  # type: ignore[arg-type]
        sys.setswitchinterval(before)


class Flapping(Stub):
    """Fails all calls for five milliseconds, and none for the next five."""

    def __init__(self, offset: float) -> None:
        super().__init__(lambda call: vectors(call.items))
        self._offset = offset

    def embed(self, call: Call, deadline: Deadline) -> Vectors:
        if (time.monotonic() + self._offset) % 0.01 < 0.005:
            raise ProviderUnavailable("failed with 503")
        return vectors(call.items)


def hammer(ask: Callable[[int, int], object]) -> Counter[str]:
    """Call ``ask`` (with the thread's number, and the number of its call) from all threads for two
    seconds; return the results."""
    heard: Counter[str] = Counter()
    stop = time.monotonic() + SECONDS

    def work(number: int) -> None:
        i = 0
        while time.monotonic() < stop:
            i += 1
            try:
                ask(number, i)
                heard["ok"] += 1
            except ClientError as error:
                heard[f"{error.status}"] += 1
            except BaseException as error:
                heard[repr(error)[:100]] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    with switching_anywhere():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return heard


def await_nothing_in_flight(made: Dispatcher) -> None:
    def is_idle() -> bool:
        return not any(one.get("in_flight") or one.get("outstanding") for one in made.report())

    eventually(is_idle)


@pytest.mark.parametrize("merge", [False, True])
def test_all_requests_are_served_without_faults(merge, caplog):
    providers = {name: Stub(lambda call: vectors(call.items)) for name in "ab"}
    made = dispatcher(providers, provider={"merge": merge, "concurrency": 4})
    heard = hammer(
        lambda n, i: made.embed(EmbeddingRequest("m", [f"{n} {i}"]), time.monotonic() + 60)
    )
    assert set(heard) == {"ok"}
    await_nothing_in_flight(made)
    assert not [record for record in caplog.records if record.exc_info]


def test_ejections_under_threads_raise_no_unexpected_exception(caplog):
    """Deployments are ejected a hundred times a second: each request gets an answer or an error."""
    made = dispatcher({name: Flapping(k * 0.003) for k, name in enumerate("abc")})
    heard = hammer(
        lambda n, i: made.embed(EmbeddingRequest("m", [f"{n} {i}"]), time.monotonic() + 60)
    )
    assert set(heard) <= {"ok", "502", "503"}
    await_nothing_in_flight(made)
    assert not [record for record in caplog.records if record.exc_info]


def test_single_flight_returns_own_vectors_and_keeps_no_load(caplog):
    """Few texts, many callers, some with very short timeouts; later each text is embedded."""
    providers = {name: Stub(lambda call: vectors(call.items)) for name in "ab"}
    made = dispatcher(providers, provider={"concurrency": 2})
    pipeline = Pipeline(made, MemoryCache(200, 0.001, time.monotonic))

    def ask(number: int, i: int, patience: float | None = None) -> None:
        items = [f"{(i + k) % 7}" for k in range(1 + number % 3)]
        request = EmbeddingRequest("m", items, caching=True)
        patience = patience or (60 if i % 5 else 0.0005)
        outcome = pipeline.run(request, Caller("tests"), time.monotonic() + patience)
        assert len(outcome.vectors.rows) == len(items)
        assert all(len(row) == 4 for row in outcome.vectors.rows)

    heard = hammer(ask)
    assert set(heard) <= {"ok", "504"}
    await_nothing_in_flight(made)
    for i in range(7):
        ask(0, i, patience=60)
    assert not [record for record in caplog.records if record.exc_info]


def test_callers_that_leave_large_loads_leave_others_their_vectors_and_no_state(caplog):
    """Loads of several parts, which are joined and left all the time, in all tiers.

    All that the providers bill is charged.
    """
    billed, bought, lock = list[int](), Counter[Source](), threading.Lock()

    def own(call: Call) -> Vectors:
        time.sleep(0.001)
        billed.append(len(call.items))
        return Vectors([row(item) for item in call.items], [1] * len(call.items))

    providers = {name: Stub(own) for name in "ab"}
    made = dispatcher(providers, provider={"concurrency": 2, "max_inputs": 2})
    pipeline = Pipeline(made, MemoryCache(200, 0.001, time.monotonic))
    tiers: list[Tier] = ["priority", "default", "flex"]

    def ask(number: int, i: int, patience: float | None = None) -> None:
        size = 14 if number % 2 else 1
        items = [f"{(i + number + k) % 40}" for k in range(size)]
        flow = Flow(f"{number % 3}", tier=tiers[number % 3])
        request = EmbeddingRequest("m", items, caching=True, flow=flow)
        patience = patience or (60 if i % 3 == 0 else 0.001 * (i % 40))
        try:
            outcome = pipeline.run(request, Caller("tests"), time.monotonic() + patience)
        except ClientError as error:
            with lock:
                bought.update(error.purchases or {})
            raise
        with lock:
            bought.update(outcome.purchases)
        assert list(outcome.vectors.rows) == [row(item) for item in items]

    heard = hammer(ask)
    assert set(heard) <= {"ok", "504"}
    assert heard["504"]
    await_nothing_in_flight(made)
    assert pipeline._flights._loads == {}
    for i in range(40):
        ask(0, i, patience=60)
    assert (bought + unpaid(made)).total() == sum(billed)
    assert not [record for record in caplog.records if record.exc_info]


def at_once(function: Callable[[float], object], values: Sequence[float]) -> None:
    """Call a function with each of some values, each in a thread of its own."""
    threads = [threading.Thread(target=function, args=(value,)) for value in values]
    with switching_anywhere():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_the_longest_of_pauses_that_answers_ask_for_at_once_holds():
    for _ in range(20):
        quota = Quota(None, None)
        pause = partial(quota.pause_until_reset, now=1000.0)
        at_once(pause, [10.0, 50.0, 20.0, 40.0, 30.0])
        assert quota.exhausted_until == 1050.0


def test_each_of_the_calls_that_are_too_large_at_once_makes_later_ones_smaller():
    for _ in range(20):
        estimate = TokenEstimate()
        at_once(lambda _, made=estimate: made.raise_correction(), [0.0] * 5)
        assert estimate.correction == pytest.approx(1.25**5)
