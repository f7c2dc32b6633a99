"""A request on the deployment that an administrator names: its own vectors, or its own error."""

import time
from types import SimpleNamespace

import pytest

from app.dispatch import one_deployment
from app.dispatch.one_deployment import embed_on
from app.dispatch.sending import background_calls
from app.domain import CallRecord, EmbeddingRequest
from app.errors import (
    BadRequest,
    ClientClosedRequest,
    ConnectionFailed,
    CredentialsRefused,
    DeadlineExceeded,
    Overloaded,
    ProviderTimeout,
    RateLimited,
    RefusedByProvider,
    Rejected,
    Throttled,
    UpstreamFailed,
)
from tests.dispatch.parts import vectors
from tests.dispatch.pools import drift
from tests.dispatch.sending.test_background_calls import Background
from tests.support.clock import Clock


class Asking(Background):
    """Asks deployment "a" for the vectors of items, which are numbers."""

    left = False

    def ask(self, *items, seconds=60.0, **fields):
        request = EmbeddingRequest("m", [str(item) for item in items], **fields)
        pool = self.sender._pool_of[self.a]
        self.deadline = time.monotonic() + seconds
        return embed_on(pool, self.a, self.apart, request, self.deadline, lambda: self.left)


def test_vectors_are_in_order_over_several_calls():
    asking = Asking(max_inputs=2)
    outcome = asking.ask(5, 4, 3, 2, 1)
    assert outcome.vectors.rows == vectors([5, 4, 3, 2, 1]).rows
    assert asking.calls == [["5", "4"], ["3", "2"], ["1"]]
    assert (outcome.attempts, outcome.provider, outcome.sources) == (3, "a", [("a", "m")])
    assert outcome.purchases == {("a", "m"): outcome.prompt_tokens}


def test_calls_are_recorded_for_observers():
    asking, records = Asking(max_inputs=2), []
    asking.refused = ("3",)
    with pytest.raises(RefusedByProvider):
        asking.ask(1, 2, 3, calls=records)
    made = [CallRecord._make(one) for one in records]
    assert [(one.start, one.stop, one.source, one.result) for one in made] == [
        (0, 2, ("a", "m"), ""),
        (2, 3, ("a", "m"), "rejected"),
    ]
    assert all(one.queued_at <= one.called_at <= one.ended_at for one in made)


def test_times_are_those_of_the_calls():
    asking = Asking(max_inputs=1)
    started = time.monotonic()
    outcome = asking.ask(1, 2)
    took_s = time.monotonic() - started
    assert outcome.queue_seconds >= 0
    assert outcome.upstream_seconds > 0
    assert outcome.queue_seconds + outcome.upstream_seconds <= took_s


def test_vectors_of_two_widths_are_a_failure_of_the_deployment_and_charged():
    """As when a model is replaced between the calls of a request."""
    asking, records = Asking(max_inputs=1), []
    asking.a.embed = lambda call, *_: vectors(
        [int(item) for item in call.items], int(call.items[0])
    )
    with pytest.raises(UpstreamFailed, match="vectors of two widths") as found:
        asking.ask(1, 2, 3, calls=records)
    assert found.value.purchases == {("a", "m"): sum(vectors([1, 2]).tokens)}
    assert [CallRecord._make(one).result for one in records] == ["", "contract"]


def test_dimensions_and_input_type_are_those_of_the_request():
    asking, seen = Asking(), []

    def embed(call, cut_to, deadline):
        seen.append((call.input_type, cut_to))
        return vectors([1])

    asking.a.embed = embed
    asking.ask(1, dimensions=2, input_type="query")
    assert seen == [("query", 2)]
    asking.a.widths.refusal_of = lambda _: Rejected("not that wide", param="dimensions")
    with pytest.raises(BadRequest):
        asking.ask(1, dimensions=3)


def test_deployment_that_has_drifted_is_asked_all_the_same():
    asking = Asking()
    drift(asking.a)
    assert asking.ask(1).vectors.rows == vectors([1]).rows


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (Rejected("your input is invalid"), RefusedByProvider, "your input is invalid"),
        (Throttled("429", retry_after=60), RateLimited, "rate limit"),
        (CredentialsRefused("refused"), UpstreamFailed, "credentials"),
        (ConnectionFailed("could not be reached"), UpstreamFailed, "it could not be reached"),
        (ProviderTimeout("did not answer"), UpstreamFailed, "it did not answer"),
    ],
)
def test_failure_of_the_deployment_is_the_answer(failure, kind, text):
    asking = Asking()
    asking.error = failure
    with pytest.raises(kind, match=text) as found:
        asking.ask(1)
    assert found.value.attempts == 1


def test_what_was_bought_before_a_failure_is_charged():
    asking = Asking(max_inputs=1)
    asking.refused = ("2",)
    with pytest.raises(RefusedByProvider) as found:
        asking.ask(1, 2, 3)
    assert found.value.purchases == {("a", "m"): sum(vectors([1]).tokens)}
    assert asking.calls == [["1"], ["2"]]


def test_busy_deployment_is_waited_for_until_the_deadline(monkeypatch):
    asking, clock = Asking(slots=1), Clock(time.monotonic())

    def sleep(seconds):
        clock.now += seconds

    for module in (one_deployment, background_calls):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    asking.apart._sleep = sleep
    asking.queue.free = 0
    with pytest.raises(Overloaded):
        asking.ask(1, seconds=5)
    assert clock.now >= asking.deadline
    with pytest.raises(DeadlineExceeded):
        asking.ask(1, seconds=-1)
    asking.left = True
    with pytest.raises(ClientClosedRequest):
        asking.ask(1)


def test_call_that_does_not_end_in_time_is_not_waited_for_beyond_the_deadline():
    asking = Asking()
    asking.sender._start_thread = lambda run, arguments: None
    started_at = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        asking.ask(1, seconds=0.01)
    assert time.monotonic() - started_at < 10


def test_nothing_more_is_bought_for_a_client_that_has_left():
    asking = Asking(max_inputs=1)
    embed = asking.a.embed

    def leave(*arguments):
        asking.left = True
        return embed(*arguments)

    asking.a.embed = leave
    with pytest.raises(ClientClosedRequest) as found:
        asking.ask(1, 2, 3)
    assert asking.calls == [["1"]]
    assert found.value.purchases == {("a", "m"): sum(vectors([1]).tokens)}
