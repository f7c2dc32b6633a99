"""A bug in what is learned of a call changes nothing for the requests that wait for it."""

import pytest

from app.dispatch.queue.adaptive import AdaptiveLimit
from app.errors import ProviderUnavailable
from tests.dispatch.parts import vectors
from tests.dispatch.sending.test_sender import Sending


def learning_fails(*_):
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("where", ["record_success", "unslowed", "adaptive"])
def test_bug_in_what_is_learned_of_a_call_loses_no_vectors(where, caplog):
    sending = Sending()
    if where == "record_success":
        sending.sender._pool_of[sending.a].ejector.record_success = learning_fails
    elif where == "unslowed":
        sending.a.unslowed_calls.learn = learning_fails
    else:
        sending.queue.adaptive = AdaptiveLimit(1, 4)
        sending.queue.adaptive.record_success = learning_fails
    attempts = [sending.submit(sending.a, n) for n in range(3)]
    sending.run()
    sending.assert_all_told(*attempts)
    assert [sending.results[one] for one in attempts] == [vectors([n]) for n in range(3)]
    assert "a bug" in caplog.text


def test_bug_in_what_is_learned_of_a_failure_hides_none():
    sending = Sending()
    sending.error = ProviderUnavailable("failed with 503")
    sending.sender._pool_of[sending.a].ejector.record_failure = learning_fails
    attempts = [sending.submit(sending.a, n) for n in range(3)]
    sending.run()
    sending.assert_all_told(*attempts)
    assert set(sending.results.values()) == {sending.error}
