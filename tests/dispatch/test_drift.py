"""A deployment that is ejected for drift is not called, and none of its vectors leaves."""

import time

import pytest

from app.dispatch.deployments.deployment import Agreement
from app.dispatch.job.caller_errors import error_of_failures
from app.dispatch.queue.attempts import NotSent
from app.errors import (
    Drifted,
    ProviderUnavailable,
    Rejected,
    SpaceDrifted,
)
from tests.dispatch.members import good
from tests.dispatch.parts import T, deployment, expected, pool, vectors
from tests.dispatch.pools import drift
from tests.dispatch.sending.test_sender import Sending
from tests.dispatch.simulator import simulated

GONE = Agreement(0.1, 0.2, "code", 0.0, has_drifted=True)
WELL = Agreement(0.9999, 1.0, "code", 0.0, has_drifted=False)


# Choosing


def test_a_drifted_deployment_is_never_chosen_even_as_the_last_resort():
    a, b = deployment("a"), deployment("b", tier=1)
    of = pool(a, b)
    drift(a)
    assert of.choose(T, expected(1)) is b
    assert of.choose(T, expected(1), avoid=[b]) is None
    assert of.can_serve(T)
    assert of.wait_s(T, expected(1), [a]) == float("inf")
    drift(b)
    assert of.choose(T, expected(1)) is None
    assert not of.can_serve(T)


def test_the_only_deployment_of_a_model_is_not_called_after_drift():
    a = deployment("a")
    of = pool(a)
    drift(a)
    assert of.choose(T, expected(1)) is None


def test_a_drifted_deployment_counts_as_ejected_for_the_half_that_must_stay():
    a, b = deployment("a"), deployment("b")
    of = pool(a, b)
    drift(a)
    for _ in range(5):
        of.ejector.record_failure(b, ProviderUnavailable("failed with 503"), 1, T, T, is_probe=True)
    assert not b.breaker.is_ejected


# The caller's error


@pytest.mark.parametrize("failures", [[], [Drifted("embeds elsewhere")]])
def test_error_says_that_all_deployments_have_drifted(failures):
    a, b = deployment("a"), deployment("b")
    drift(a, b)
    error = error_of_failures(pool(a, b), [a, b], failures, False, expected(1), T)
    assert isinstance(error, SpaceDrifted)
    assert (error.status, error.code) == (503, "space_drifted")
    assert error.should_retry is False
    assert error.retry_after > 0


def test_a_refused_request_is_refused_whatever_has_drifted():
    a = deployment("a")
    drift(a)
    error = error_of_failures(
        pool(a), [a], [Rejected("your input is invalid")], True, expected(1), T
    )
    assert error.status == 400


# Calls in flight, and queued


def test_vectors_of_a_call_that_was_in_flight_at_the_ejection_are_dropped():
    sending = Sending()
    sending.sender._pool_of[sending.a].is_alone = False
    first = sending.submit(sending.a, 0)
    drift(sending.a)
    sending.run()
    sending.assert_all_told(first)
    assert isinstance(sending.results[first], Drifted)
    assert not sending.a.breaker.failures_in_a_row  # it has not failed


def test_tokens_of_dropped_vectors_count_for_the_quota():
    sending = Sending(tokens_per_minute=100)
    sending.submit(sending.a, 7)
    drift(sending.a)
    sending.run()
    assert sending.a.quota.tokens_left(time.monotonic()) == 100 - sum(vectors([7]).tokens)


def test_queued_attempts_go_elsewhere_at_the_ejection():
    sending = Sending()
    first = sending.submit(sending.a, 0)
    run, arguments = sending.threads.pop()
    sending.queue.close(*arguments)
    waiting = sending.submit(sending.a, 1)
    drift(sending.a)
    sending.sender.report_ejection(sending.sender._pool_of[sending.a], sending.a, T)
    assert isinstance(sending.results[waiting], NotSent)
    run(*arguments)
    sending.assert_all_told(first, waiting)
    assert len(sending.calls) == 1


def test_no_vector_of_a_drifted_deployment_is_heard_after_its_ejection():
    """In virtual time, in the middle of a load: every caller is served by the other deployment."""
    both = {"m": [{"provider": "a"}, {"provider": "b"}]}
    with simulated({"a": good(0.2), "b": good(0.2)}, both) as run:
        asked = [run.ask("m", [f"text {i}"], i * 0.01) for i in range(400)]
        a = run.deployment("a")
        at, back = run.world.now + 2.0, run.world.now + 3.0
        run.world.at(at, lambda: run.dispatcher.set_agreement(a, GONE, ejects=True))
        run.world.at(back, lambda: run.dispatcher.set_agreement(a, WELL, ejects=True))
        run.to_the_end()
    assert not run.errors()
    served = {
        when: {p for one in asked if from_ <= one.heard < to for p, _ in one.outcome.sources}
        for when, from_, to in [("before", 0, at), ("meanwhile", at, back), ("after", back, 1e9)]
    }
    assert served == {"before": {"a", "b"}, "meanwhile": {"b"}, "after": {"a", "b"}}


def test_requests_in_the_queue_go_elsewhere_at_the_ejection():
    both = {"m": [{"provider": "a"}, {"provider": "b", "tier": 1}]}
    slow = {"a": {"concurrency": 1, "merge": False}}
    with simulated({"a": good(10.0), "b": good(0.1)}, both, providers=slow) as run:
        asked = [run.ask("m", [f"text {i}"], timeout=60) for i in range(3)]
        at = run.world.now + 0.5
        a = run.deployment("a")
        run.world.at(at, lambda: run.dispatcher.set_agreement(a, GONE, ejects=True))
        run.to_the_end()
    assert not run.errors()
    in_flight, *queued = sorted(asked, key=lambda one: -one.heard)
    assert {p for p, _ in in_flight.outcome.sources} == {"b"}
    assert all(at < one.heard < at + 1 for one in queued)


def test_a_large_request_ends_where_all_have_drifted():
    with simulated(
        {"a": good(0.2)}, {"m": [{"provider": "a", "max_inputs": 1}]}, concurrency=1
    ) as run:
        asked = run.ask("m", [f"text {i}" for i in range(10)])
        a = run.deployment("a")
        run.world.at(
            run.world.now + 0.5, lambda: run.dispatcher.set_agreement(a, GONE, ejects=True)
        )
        run.to_the_end()
    assert asked.code == "space_drifted"
    assert asked.heard < asked.at + 2


@pytest.mark.parametrize("caching", [False, True])
def test_no_answer_mixes_vectors_from_before_an_ejection_with_others(caching):
    small = {"max_inputs": 1, "concurrency": 1}
    both = {"m": [{"provider": "a", **small}, {"provider": "b", **small}]}
    texts = [f"text {i}" for i in range(60)]
    behaviours = {"a": good(0.05), "b": good(0.05)}
    with simulated(behaviours, both, concurrency=1, merge=False, caching=caching) as run:
        asked = run.ask("m", texts, timeout=60)
        repeated = run.ask("m", texts[:20], after=30)
        at, a = run.world.now + 0.5, run.deployment("a")
        run.world.at(at, lambda: run.dispatcher.set_agreement(a, GONE, ejects=True))
        run.to_the_end()
    bought = sum(call.total for call in run.calls("a") if call.good)
    assert bought
    assert not run.errors()
    assert list(asked.outcome.sources) == [("b", "m")]
    assert asked.outcome.provider == "b"
    assert asked.outcome.purchases[("a", "m")] == bought
    assert asked.outcome.attempts == len(run.calls()) - (0 if caching else 20)
    assert repeated.outcome.cache == ("hit" if caching else "off")


@pytest.mark.parametrize("caching", [False, True])
def test_rows_are_not_embedded_again_for_a_client_that_has_left(caching):
    both = {"m": [{"provider": "a", "max_inputs": 1}, {"provider": "b", "max_inputs": 1}]}
    behaviours = {"a": good(0.2), "b": good(0.4)}
    with simulated(behaviours, both, concurrency=1, merge=False, caching=caching) as run:
        asked = run.ask("m", ["the first text", "the second text"], leaves_after=0.5)
        at, a = run.world.now + 0.4, run.deployment("a")
        run.world.at(at, lambda: run.dispatcher.set_agreement(a, GONE, ejects=True))
        run.to_the_end()
    assert len(run.calls("a")) == len(run.calls("b")) == 1
    assert asked.code == "client_closed_request"
    assert asked.error.attempts == 2
    assert asked.error.purchases == {(c, "m"): run.calls(c)[0].total for c in "ab"}


def test_rows_that_cannot_be_embedded_again_after_drift_fail_the_request_which_pays():
    both = {"m": [{"provider": "a", "max_inputs": 1}]}
    with simulated({"a": good(0.05)}, both, concurrency=1, merge=False) as run:
        asked = run.ask("m", ["one", "two"], timeout=60)
        a = run.deployment("a")
        embed, failed = run.dispatcher._embed_once, []

        def embed_then_drift(*args):
            outcome = embed(*args)
            run.dispatcher.set_agreement(a, GONE, ejects=True)
            failed.append(outcome)
            return outcome

        run.dispatcher._embed_once = embed_then_drift
        run.to_the_end()
    assert asked.code == "space_drifted"
    assert asked.error.purchases == failed[0].purchases
    assert asked.error.attempts == 2


def test_nothing_is_ejected_under_warn():
    with simulated({"a": good()}, {"m": [{"provider": "a"}]}) as run:
        run.dispatcher.set_agreement(run.deployment("a"), GONE, ejects=False)
        asked = run.ask("m", ["text"])
        run.to_the_end()
        (row,) = run.dispatcher.report()
    assert asked.error is None
    assert row["state"] == "ok"
    assert row["agreement"]["lowest"] == GONE.lowest
    assert row["agreement"]["has_drifted"]
