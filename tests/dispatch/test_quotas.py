"""``requests_per_minute`` and ``tokens_per_minute`` hold for the calls sent."""

import itertools
from contextlib import suppress

import pytest

from app.concurrency.deadline import Deadline
from app.domain import Call, EmbeddingRequest, Flow, Vectors
from app.errors import ClientError, DeadlineExceeded, RateLimited
from tests.dispatch.arrangements import (
    START,
    Stub,
    codes,
    dispatcher,
    later_than,
    load,
    models,
    most_in_a_window,
    vectors,
    waited,
)
from tests.dispatch.members import POISON, good
from tests.dispatch.simulator import simulated
from tests.dispatch.virtual import World

TEN = models("a", requests_per_minute=10)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("slots", [2, 64])
def test_calls_of_a_minute_are_within_the_quota(slots, merge):
    with simulated({"a": good(0.2)}, TEN, merge=merge, concurrency=slots) as run:
        asked = load(run, 100, 0.0001, timeout=50)
        run.world.run()
        assert most_in_a_window(run.calls()) <= 10
        assert set(codes(asked)) <= {"ok", "rate_limit_exceeded", "timeout"}
        assert codes(asked)["ok"] >= 10


def test_calls_beyond_half_of_the_quota_are_spread_over_the_minute():
    with simulated({"a": good(0.2)}, models("a", requests_per_minute=60), merge=False) as run:
        asked = load(run, 60, 0.0001, timeout=100)
        run.to_the_end()
        assert codes(asked) == {"ok": 60}
        left = sorted(call.began - START for call in run.calls())
        assert left[30] < 1
        assert left[-1] == pytest.approx(29, abs=1)
        assert all(later - call < 1.1 for call, later in itertools.pairwise(left))


def test_calls_do_not_wait_for_a_spread_quota_beside_an_idle_deployment_of_the_next_tier():
    tiers = {"m": [{"provider": "a", "requests_per_minute": 60}, {"provider": "b", "tier": 1}]}
    with simulated(dict.fromkeys("ab", good(0.2)), tiers, merge=False) as run:
        asked = load(run, 60, 0.01, timeout=100)
        bulk = load(run, 3, 0.01, after=1, timeout=100, flow=Flow(tier="flex"))
        run.to_the_end()
        assert codes(asked + bulk) == {"ok": 63}
        assert not later_than(0.5, asked)
        assert 30 <= len(run.calls("a")) <= 36
        assert len(later_than(0.5, bulk)) == 3  # it costs nothing to wait for the first tier


def test_request_waits_a_moment_for_room_in_a_full_quota():
    """For two seconds at most, as the docs say; before a longer wait it is refused."""
    with simulated({"a": good(0.2)}, models("a", requests_per_minute=2)) as run:
        load(run, 2, 0.01)
        refused, impatient, waits = (
            run.ask("m", [f"{after}"], after, timeout)
            for after, timeout in ((57, 30), (58.5, 1), (58.6, 30))
        )
        run.to_the_end()
        assert codes([refused, impatient]) == {"rate_limit_exceeded": 2}
        assert refused.error.retry_after > 2
        assert codes([waits]) == {"ok": 1}
        assert 1 < waited(waits) < 2


def test_what_waits_for_a_quota_leaves_together():
    with simulated({"a": good(0.2)}, TEN) as run:
        load(run, 1, 1.0)
        asked = load(run, 100, 0.01, after=1, timeout=100)
        run.to_the_end()
        assert codes(asked) == {"ok": 100}
        assert len(run.calls()) <= 10


def test_parts_over_the_quota_wait_for_the_next_minute():
    with simulated({"a": good(0.2)}, models("a", requests_per_minute=10, max_inputs=1)) as run:
        asked = run.ask("m", [f"{i}" for i in range(50)], timeout=600)
        run.to_the_end()
        assert most_in_a_window(run.calls()) <= 10
        assert codes([asked]) == {"ok": 1}
        assert len(run.calls()) == 50


def test_bisection_is_charged_to_the_quota():
    with simulated({"a": good(0.2)}, TEN, concurrency=1) as run:
        load(run, 1, 1.0)
        bad = [run.ask("m", [f"{POISON} {i}"], 0.05 + i * 0.0001, timeout=50) for i in range(64)]
        run.world.run()
        assert most_in_a_window(run.calls()) <= 10
        assert set(codes(bad)) <= {"BadRequest", "rate_limit_exceeded", "timeout"}


@pytest.mark.parametrize(("workers", "per_minute"), [(16, 10), (16, 20), (3, 10)])
def test_workers_together_are_within_the_quota(workers, per_minute):
    """A share below one call is a longer pause. One worker, for 16 minutes."""
    with World().installed() as world:
        provider = Stub(lambda call: vectors(call.items))
        made = dispatcher({"a": provider}, workers=workers, requests_per_minute=per_minute)

        def ask():
            for i in range(960):
                with suppress(
                    RateLimited, DeadlineExceeded
                ):  # any other error ends the thread, which is noted
                    made.embed(EmbeddingRequest("m", [f"{i}"], timeout=1), world.now + 1)
                world.pause(1.0)

        world.spawn(ask)
        world.run()
        assert not world.wrong
    allowed = 16 * per_minute / workers
    assert 0.8 * allowed <= len(provider.calls) <= allowed + 1


def test_tokens_of_unsent_calls_are_released():
    models_ = models("a", tokens_per_minute=1000, concurrency=1)
    with simulated({"a": good(30)}, models_, merge=False) as run:
        run.ask("m", ["x" * 30], timeout=50)
        for i in range(9):  # their time passes in the queue
            run.ask("m", ["y" * 300 + str(i)], after=0.1 + i * 0.01, timeout=1)
        late = run.ask("m", ["z" * 300], after=38, timeout=60)
        run.to_the_end()
        assert len(run.calls()) == 2
        assert codes([late]) == {"ok": 1}


def ask_each_second(tokens_counted: int, tokens_per_minute: int, text: str) -> tuple[int, set]:
    """Request once a second for a minute; return the number served, and other results."""
    others = set()
    with World().installed() as world:

        class Counting(Stub):
            def embed(self, call: Call, deadline: Deadline) -> Vectors:
                world.pause(0.05)
                return super().embed(call, deadline)

        provider = Counting(lambda call: vectors(call.items, tokens=tokens_counted))
        made = dispatcher({"a": provider}, tokens_per_minute=tokens_per_minute)

        def ask():
            for i in range(59):
                request = EmbeddingRequest("m", [f"{text}{i}"], timeout=1)
                try:
                    made.embed(request, world.now + 1)
                except ClientError as error:
                    others.add((error.status, error.code))
                world.pause(START + i + 1 - world.now)

        world.spawn(ask)
        world.run()
        assert not world.wrong
    return len(provider.calls), others


def test_tokens_are_charged_by_the_count_if_it_is_lower():
    """Estimated 100, counted 5: 59 requests are within 300 tokens a minute."""
    assert ask_each_second(5, 300, "x" * 298) == (59, set())


def test_tokens_are_charged_by_the_count_if_it_is_higher():
    """Estimated 10, counted 100: the fourth request is over 300 tokens a minute."""
    served, others = ask_each_second(100, 300, "x" * 28)
    assert 3 <= served <= 4  # the first is a guess
    assert others == {(429, "rate_limit_exceeded")}


def test_request_over_the_token_quota_gets_429_with_retry_after():
    with simulated({"a": good()}, models("a", tokens_per_minute=1000)) as run:
        first, second = (run.ask("m", [c * 2700], after=k) for k, c in enumerate("xy"))
        run.to_the_end()
        assert codes([first, second]) == {"ok": 1, "rate_limit_exceeded": 1}
        assert 50 <= second.error.retry_after <= 60


@pytest.mark.parametrize("other", [False, True])
def test_item_larger_than_a_call_waits_for_the_quota_or_fails_over(other):
    """All its tokens count for the quota, so it is not sent and returned."""
    limited = {"provider": "a", "max_tokens": 80, "tokens_per_minute": 400}
    deployments = {"m": [limited, *([{"provider": "b", "tier": 1}] if other else [])]}
    with simulated(dict.fromkeys("ab", good()), deployments) as run:
        asked = [run.ask("m", ["x" * 600], after=i * 0.1, timeout=5) for i in range(10)]
        run.world.run()
        found = codes(asked)
        assert set(found) <= {"ok", "rate_limit_exceeded"}
        assert found["ok"] == (10 if other else 2)
