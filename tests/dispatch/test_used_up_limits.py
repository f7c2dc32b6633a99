"""A deployment rests while its provider says that a limit is used up."""

import itertools
from typing import Any

from msgspec.structs import replace

from app.domain import EmbeddingRequest
from app.errors import ClientError
from tests.dispatch.arrangements import (
    START,
    Stub,
    dispatcher,
    vectors,
)
from tests.dispatch.virtual import World


def ask_after_a_limit_is_used_up(resets_in: float, others: bool = False) -> tuple[list, list]:
    """Ask, be told that nothing remains, ask again; return the answers' times and the errors."""
    return ask_again(others, limit_resets_in=resets_in)


def ask_again(
    others: bool = False, quota: int | None = None, often: bool = True, **said: Any
) -> tuple[list, list]:
    """Ask a provider that says something of its limits, in each answer or in the first.

    Return the answers' times and the errors.
    """
    answered, errors = [], []
    with World().installed() as world:

        def answer(call):
            return replace(vectors(call.items), **(said if often or not answered else {}))

        providers = {"a": Stub(answer)}
        if others:
            providers["b"] = Stub(lambda call: vectors(call.items))
        made = dispatcher(providers, requests_per_minute=quota)

        def ask(number):
            try:
                made.embed(EmbeddingRequest("m", [f"{number}"], timeout=100), world.now + 100)
                answered.append(world.now - START)
            except ClientError as error:
                errors.append(error)

        def ask_all():
            for number in range(6):
                ask(number)
                world.pause(0.1)

        world.spawn(ask_all)
        world.run()
        assert not world.wrong
        assert world.threads == 0
    return answered, errors


def test_call_waits_for_the_reset_of_a_limit_that_the_provider_says_is_used_up():
    answered, errors = ask_after_a_limit_is_used_up(1.5)
    assert not errors
    assert all(later - one >= 1.4 for one, later in itertools.pairwise(answered))


def test_long_rest_is_a_429_and_at_most_a_minute():
    answered, errors = ask_after_a_limit_is_used_up(40 * 86_400)
    assert len(answered) == 1
    assert {error.status for error in errors} == {429}
    assert all(55 <= error.retry_after <= 60 for error in errors)


def test_other_deployment_is_called_while_one_rests():
    answered, errors = ask_after_a_limit_is_used_up(30, others=True)
    assert not errors
    assert answered[-1] < 2


def test_no_more_calls_are_made_than_a_provider_says_remain():
    """Its first answer says that two calls remain, and that its limit resets after 1.5 s."""
    headers = ("2", "1.5", "", "", "", "", "")
    answered, errors = ask_again(often=False, quota=600, limit_headers=headers)
    assert not errors
    assert answered[2] < 1
    assert answered[3] >= answered[0] + 1.4
    assert answered[5] < answered[3] + 1
