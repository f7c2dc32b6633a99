"""Retries and hedges are at most a share of the calls."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.deployments.accounts import Budget


@given(st.lists(st.booleans(), max_size=400), st.sampled_from([0.05, 0.2]), st.integers(0, 20))
def test_extra_calls_stay_within_their_share(events, ratio, start):
    budget, asked, extra = Budget(ratio, start, 100), 0, 0
    for ask in events:
        if ask:
            budget.earn()
            asked += 1
        else:
            extra += budget.spend()
        assert extra <= asked * ratio + start + 1e-6


@given(st.lists(st.sampled_from([None, 0.0, 0.25, 1.0]), max_size=100))
def test_can_spend_agrees_with_spend(costs):
    budget = Budget(0.2, 1, 3)
    for cost in costs:
        if cost is None:
            budget.earn()
        else:
            assert budget.can_spend(cost) == budget.spend(cost)


def test_earned_budget_can_be_spent():
    budget = Budget(0.2, 0, 100)
    assert not budget.spend()
    for _ in range(51):
        budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


def test_cost_of_a_shared_call_is_divided():
    budget = Budget(0.2, 1, 100)
    assert [budget.spend(1 / 4) for _ in range(5)] == [True] * 4 + [False]


def test_saved_budget_is_bounded():
    budget = Budget(0.2, 0, 10)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10
