"""Attempts that wait, and the order in which they leave."""

from app.dispatch.queue.waiting import WaitingAttempts
from app.domain import Flow
from tests.dispatch.parts import attempt, deployment


def always(_):
    return True


class CallOf:
    """A call that takes a number of attempts."""

    def __init__(self, most):
        self.room = most - 1

    @property
    def is_full(self):
        return not self.room

    def try_add(self, _):
        self.room -= 1
        return True


def left(queue, may_leave=always, most=1):
    """Take out all attempts that may leave, at most so many in a call; return the calls."""
    calls = []
    while (first := queue.next(may_leave)) is not None:
        calls.append(queue.take(first, CallOf(most)))
    return calls


def left_in_order(queue, may_leave=always, most=1):
    return [one for call in left(queue, may_leave, most) for one in call]


def waiting(attempts):
    queue = WaitingAttempts()
    for one in attempts:
        queue.add(one)
    return queue


A = deployment()


def many(number, key="k", tier="default", share=1.0, user="", tokens=1, group="g"):
    flow = Flow(key, share, tier, user)
    return [attempt(A, group=group, tokens=tokens, flow=flow) for _ in range(number)]


def keys_of(attempts):
    return [one.flow.key for one in attempts]
