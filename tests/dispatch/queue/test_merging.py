"""Which attempts share a call: those alike, or that make it hardly longer."""

import pytest

from app.dispatch.queue.leaving import Merging
from app.domain import Flow
from tests.dispatch.parts import T, attempt, deployment

BULK, SMALL = 64, 1
FLEX, PRIORITY = Flow(tier="flex"), Flow(tier="priority")


def known(seconds_a_call, seconds_an_item, **settings):
    """Return a deployment whose calls take so long."""
    made = deployment(**settings)
    for items in (1, 8, 64, 2, 32, 16) * 5:
        made.durations.add(items, items, seconds_a_call + seconds_an_item * items)
    return made


def sizes_in_call(to, *attempts, quota_tokens=float("inf")):
    first, *others = [attempt(to, size, tokens=size, flow=flow) for size, flow in attempts]
    call = Merging(first, quota_tokens, T)
    return [first.size, *(one.size for one in others if call.try_add(one))]


def default(*sizes):
    return [(size, Flow()) for size in sizes]


def test_attempts_of_about_the_same_size_join_whatever_they_take():
    assert sizes_in_call(known(0.001, 0.002), *default(2, 1, 8, 9, 4, 2)) == [2, 1, 8, 4, 2]


@pytest.mark.parametrize(
    ("a_call", "an_item", "joins"), [(0.050, 0.0001, True), (0.001, 0.002, False)]
)
def test_a_bulk_attempt_joins_a_small_one_only_where_the_call_takes_hardly_longer(
    a_call, an_item, joins
):
    to = known(a_call, an_item)
    assert sizes_in_call(to, *default(SMALL, BULK)) == ([SMALL, BULK] if joins else [SMALL])
    assert sizes_in_call(to, *default(BULK, SMALL)) == ([BULK, SMALL] if joins else [BULK])


def test_a_small_attempt_keeps_the_call_short_that_it_has_joined():
    to = known(0.050, 0.00018)  # 64 texts: 61.5 ms, 128: 73 ms
    assert sizes_in_call(to, *default(BULK, SMALL, BULK)) == [BULK, SMALL]


def test_attempts_of_other_sizes_do_not_join_where_times_are_not_known():
    assert sizes_in_call(deployment(), *default(SMALL, BULK, SMALL)) == [SMALL, SMALL]


def test_a_worse_tier_joins_only_where_the_call_takes_hardly_longer():
    slow, quick = known(0.001, 0.002), known(0.050, 0.0001)
    assert sizes_in_call(slow, (1, Flow()), (1, FLEX)) == [1]
    assert sizes_in_call(slow, (1, FLEX), (1, PRIORITY)) == [1]
    assert sizes_in_call(quick, (1, Flow()), (1, FLEX), (1, PRIORITY)) == [1, 1, 1]


def test_no_call_is_over_a_limit_or_a_quota():
    assert sizes_in_call(deployment(max_inputs=4), *default(2, 2, 1)) == [2, 2]
    assert sizes_in_call(deployment(), *default(2, 2, 1), quota_tokens=3) == [2, 1]


def test_a_call_is_full_when_nothing_fits_any_more():
    to = deployment(max_inputs=2)
    call = Merging(attempt(to), float("inf"), T)
    assert not call.is_full
    assert call.try_add(attempt(to))
    assert call.is_full
    assert Merging(attempt(to, tokens=5), 5, T).is_full


def test_a_suspect_joins_no_call():
    to = deployment()
    suspect = attempt(to)
    to.remember_refused(suspect.call.items, T)
    assert not Merging(attempt(to, 2), float("inf"), T).try_add(suspect)


def test_no_call_is_expected_to_take_longer_than_the_longest():
    to = known(0.010, 0.010)  # 64 texts: 650 ms
    assert sizes_in_call(to, *default(BULK, 32, 32)) == [BULK, 32]


def test_a_large_part_is_split_into_calls_that_end_soon():
    to = known(0.010, 0.010)
    assert to.fits(99, 99)
    assert not to.fits(100, 100)
    cuts = to.split([1] * 500)
    assert max(stop - start for start, stop in cuts) == pytest.approx(99, abs=1)


def test_calls_are_not_cut_where_each_takes_long_whatever_its_size():
    to = known(2.0, 0.010)  # 64 texts: 2.6 s
    assert to.fits(500, 500)
    assert not to.fits(700, 700)


def test_a_size_that_alone_is_known_is_cut_in_proportion():
    to = deployment()
    for _ in range(10):
        to.durations.add(512, 512, 4.0)
    cuts = to.split([1] * 512)
    assert [stop - start for start, stop in cuts] == [128] * 4
    assert to.fits(2000, 2000)  # nothing is known of it


def test_bulk_work_does_not_begin_with_a_long_call():
    to = deployment()
    cuts = to.split([1] * 500, is_bulk=True)
    assert max(stop - start for start, stop in cuts) == 64
    assert to.split([1] * 500) == [(0, 500)]


def test_bulk_work_grows_while_larger_calls_are_unknown():
    to = deployment()
    for _ in range(10):
        to.durations.add(64, 64, 0.9)
    assert to.fits(256, 256, is_bulk=True)
    assert not to.fits(257, 257, is_bulk=True)
