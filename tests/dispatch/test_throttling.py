"""429: one rest for each episode, as long as Retry-After, which callers get."""

import itertools

import pytest

from app.config.sections.dispatch import DispatchSettings
from app.domain import Flow
from app.errors import Throttled
from tests.dispatch.arrangements import (
    START,
    codes,
    later_than,
    load,
    models,
    most_in_a_window,
    waited,
)
from tests.dispatch.members import between, good, lying, throttling
from tests.dispatch.simulator import simulated

AB = models("a", "b")


def burst(start, stop):
    """Answer 429 without Retry-After for a short time; each answer takes 0.3 s."""

    def behaviour(world, call):
        ill = start <= world.now < stop
        return 0.3, Throttled("asked us to slow down (429)") if ill else None

    return behaviour


def asks_until(end, well=1e9):
    """Answer 429 with Retry-After until ``end``; answer well from ``well`` on."""

    def behaviour(world, call):
        if world.now >= min(end, well):
            return 0.05, None
        error = Throttled("asked us to slow down (429)", retry_after=end - world.now)
        return 0.005, error

    return behaviour


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_burst_of_429_is_over_two_seconds_after_its_end(names, seed):
    """The calls in flight together are one episode: one rest of at most 0.5 s."""
    members = dict.fromkeys(names, burst(START + 10, START + 10.3))
    with simulated(members, models(*names), merge=False, seed=seed) as run:
        asked = load(run, 2000, 0.02, timeout=30)
        run.world.run()
        ill = [one.at - START for one in asked if one.error]
        assert set(codes(asked)) <= {"ok", "rate_limit_exceeded"}
        assert all(10 - 0.4 <= second <= 12.3 for second in ill), f"{min(ill)} … {max(ill)}"


def test_burst_of_429_at_the_only_deployment_asks_its_callers_for_a_short_wait():
    """Each of them calls it, and gets a 429, for a second."""

    def blip(world, call):
        is_ill = START + 10 <= world.now < START + 11
        return 0.02, Throttled("asked us to slow down (429)") if is_ill else None

    with simulated({"a": blip}, models("a"), merge=False) as run:
        asked = load(run, 1000, 0.02)
        run.to_the_end()
        waits = [one.error.retry_after for one in asked if one.error]
        assert 40 < len(waits) < 60
        assert max(waits) <= 2


def test_a_429_counts_also_where_the_caller_had_left():
    """The call was cancelled, and its answer had come already."""

    def behaviour(world, call):
        error = Throttled("asked us to slow down (429)", retry_after=30)
        return (3, error, True) if call.items == ["first"] else (0.05, None)

    with simulated({"a": behaviour}, models("a")) as run:
        left = run.ask("m", ["first"], leaves_after=0.5)
        early, later = (
            run.ask("m", ["early"], after=4, timeout=5),
            run.ask("m", ["later"], after=40),
        )
        run.to_the_end()
        assert codes([left, early, later]) == {
            "client_closed_request": 1,
            "rate_limit_exceeded": 1,
            "ok": 1,
        }
        assert early.error.retry_after == pytest.approx(29, abs=0.1)


def test_a_second_episode_rests_longer_than_the_first():
    """While it is throttled for 30 s, calls become rarer."""
    members = {"a": burst(START, START + 30), "b": good()}
    with simulated(members, AB, merge=False) as run:
        load(run, 3000, 0.01)
        run.world.run()
        began = [call.began for call in run.calls("a")]
        rests = [b - a for a, b in itertools.pairwise(began) if b - a > 0.2]
        assert 4 <= len(rests) <= 8
        assert rests[3] > 2 * rests[0]
        assert not run.errors()


@pytest.mark.parametrize("seconds", [600, 3600])
def test_retry_after_is_respected(seconds):
    with simulated({"a": throttling(0, seconds), "b": good()}, AB) as run:
        load(run, seconds // 10, 10.0)
        run.to_the_end()
        assert not run.errors()
        assert len(run.calls("a")) == 1


def test_a_rest_of_more_than_an_hour_is_an_hour():
    with simulated({"a": throttling(0, 86400), "b": good()}, AB) as run:
        load(run, 500, 10.0)
        run.world.run()
        assert len(run.calls("a")) == 2


def test_only_deployment_retry_after_is_returned_at_once():
    with simulated({"a": asks_until(START + 60)}, models("a"), merge=False) as run:
        asked = load(run, 700, 0.1, timeout=30)
        run.world.run()
        resting = [one for one in asked if one.at < START + 59.9]
        assert codes(resting) == {"rate_limit_exceeded": len(resting)}
        assert not later_than(0.05, resting)
        wrong = [
            (one.at - START, one.error.retry_after)
            for one in resting
            if abs(one.error.retry_after - (START + 60 - one.at)) > 1
        ]
        assert not wrong, wrong[:3]
        assert not [one for one in asked if one.at > START + 60.2 and one.error]


def test_only_deployment_is_probed_at_most_every_ten_seconds_while_resting():
    with simulated({"a": asks_until(START + 60)}, models("a"), merge=False) as run:
        load(run, 590, 0.1, timeout=30)
        run.world.run()
        assert len(run.calls("a")) <= 7
        assert most_in_a_window(run.calls("a"), 9.9) == 1


def test_early_recovery_of_the_only_deployment_is_found():
    with simulated({"a": asks_until(START + 60, well=START + 20)}, models("a")) as run:
        asked = load(run, 600, 0.1, timeout=30)
        run.world.run()
        assert codes([one for one in asked if one.at < START + 19]) == {"rate_limit_exceeded": 190}
        assert not [one for one in asked if one.at > START + 31 and one.error]


@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("retry_after", [None, 0.0, 2.0])
def test_flex_request_calls_a_throttled_provider_once_for_each_rest(names, retry_after):
    ill = {name: between(START, START + 60, throttling(0, retry_after), good()) for name in names}
    with simulated(ill, models(*names)) as run:
        asked = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"))
        run.world.run()
        assert asked.error is None
        assert waited(asked) < 130
        assert len(run.calls()) < 80


def test_flex_request_calls_ten_times_a_second_at_most_where_no_pause_is_set():
    """The provider answers at once, and asks for no rest; such calls are charged to no budget."""
    error = Throttled("asked us to slow down (429)", retry_after=0.0)
    no_pause = DispatchSettings(first_pause=0.0, longest_pause=0.0)
    ill = {"a": lambda world, call: (0.001, error)}
    with simulated(ill, models("a"), dispatch=no_pause) as run:
        asked = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"), timeout=20)
        run.to_the_end()
        assert codes([asked]) == {"timeout": 1}
        assert len(run.calls()) < 200


def test_flex_request_outlasts_more_rests_than_a_float_can_double():
    """A pause that doubles with each failure has no float after 1,024 of them."""
    members = {"a": between(START, START + 1800, throttling(0, 1.0), good())}
    with simulated(members, models("a")) as run:
        asked = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"), timeout=3600)
        run.world.run()
        assert len(run.calls()) > 1024
        assert asked.error is None


@pytest.mark.parametrize("names", ["a", "ab"])
def test_flex_request_does_not_wait_for_a_rest_that_ends_after_its_deadline(names):
    with simulated(dict.fromkeys(names, throttling(0, 600.0)), models(*names)) as run:
        asked = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"), timeout=30)
        run.to_the_end()
        assert codes([asked]) == {"rate_limit_exceeded": 1}
        assert waited(asked) < 1
        assert asked.error.retry_after == pytest.approx(600, abs=1)


def test_rests_that_a_flex_request_has_waited_for_do_not_count_as_its_failures():
    """After 20 of them it still has its retries."""
    answers = itertools.chain([throttling(0, 1.0)] * 20, [lying], itertools.repeat(good()))
    with simulated({"a": lambda world, call: next(answers)(world, call)}, models("a")) as run:
        asked = run.ask("m", ["x"], flow=Flow("bulk", tier="flex"))
        run.world.run()
        assert asked.error is None
        assert len(run.calls()) == 22
