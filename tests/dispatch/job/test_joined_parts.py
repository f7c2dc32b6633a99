"""Parts that requests which have joined a job wait for, and parts that no request waits for."""

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.job.context import with_size
from app.dispatch.queue.slot_queue import SlotQueue
from app.domain import Flow
from app.errors import InternalError, ProviderUnavailable, Rejected
from tests.dispatch.asking import Asking
from tests.dispatch.parts import T, deployment

FLEX, PRIORITY = Flow("bulk", tier="flex"), Flow("search", tier="priority")


def asking(size=8, slots=1, max_inputs=2, **options):
    """Return a job in parts of two items, of which ``slots`` run at once."""
    queue = SlotQueue(slots)
    only = deployment("a", queue, {"merge": False}, max_inputs=max_inputs)
    return Asking(only, size=size, **options)


def sent_items(made):
    return [list(map(int, one.call.items)) for one in made.take()]


def test_wanted_parts_start_before_the_others():
    made = asking()
    made.job.advance(T)
    (first,) = made.take()
    made.job.start_first([7, 3], Flow())
    made.answer(first, T + 1)
    order = []
    while not made.job.finished:
        (one,) = made.take()
        order.append(list(map(int, one.call.items)))
        made.answer(one, T + 1)
    assert order == [[2, 3], [6, 7], [4, 5]]


def test_items_wanted_before_the_request_is_split_start_first():
    made = asking()
    made.job.start_first([5], Flow())
    made.job.advance(T)
    assert sent_items(made) == [[4, 5]]


def test_wanted_part_that_failed_starts_before_the_others():
    made = asking()
    made.job.start_first([5], Flow())
    made.job.advance(T)
    (one,) = made.take()
    made.answer(one, T + 1, ProviderUnavailable("failed with 503"))  # it waits for its retry
    (other,) = made.take()
    made.answer(other, T + 2)
    made.job.advance(T + 2)
    assert sent_items(made) == [[4, 5]]


def queued_beside_a_call(**options):
    """Return a job whose attempt waits for the only slot, and that attempt."""
    a = deployment("a", SlotQueue(1))
    busy, made = Asking(a), Asking(a, **options)
    busy.job.advance(T)
    busy.take()
    made.job.advance(T)
    (queued,) = made.job._state._parts.running
    assert a.queue.waiting == 1
    return made, queued


def test_wanted_part_waits_in_the_flow_of_a_better_tier():
    made, queued = queued_beside_a_call(flow=FLEX)
    made.job.start_first([0], PRIORITY)
    assert queued.flow == with_size(PRIORITY, 1)
    assert queued.deployment.queue.waiting == 1
    assert list(made.job._state._parts.running) == [queued]


def test_part_wanted_by_a_small_request_waits_in_its_flow_and_not_in_that_of_a_bulk_request():
    made, queued = queued_beside_a_call(size=16, flow=Flow("bulk"))
    made.job.start_first([0], Flow("query"))
    assert queued.flow == with_size(Flow("query"), 1)


def test_wanted_part_of_the_same_size_or_of_a_better_tier_keeps_its_place_in_the_queue():
    made, queued = queued_beside_a_call(flow=PRIORITY)
    before = queued.flow
    for other in (FLEX, Flow("x"), Flow("y", tier="priority")):
        made.job.start_first([0], other)
        assert list(made.job._state._parts.running) == [queued]
    assert queued.flow == before


def test_part_in_flight_is_not_sent_again_for_a_better_tier():
    made = asking(size=2, flow=FLEX)
    made.job.advance(T)
    (one,) = made.take()
    made.job.start_first([0], PRIORITY)
    made.job.advance(T)
    assert not made.sent.batches
    made.answer(one, T + 1)
    assert made.job.finished


def test_only_parts_with_wanted_items_get_the_better_flow():
    made = asking(slots=4, flow=FLEX)
    made.job.start_first([5], PRIORITY)
    made.job.advance(T)
    made.job.advance(T)
    assert {tuple(one.call.items): one.flow.key for one in made.job._state._parts.running} == {
        ("0", "1"): "bulk",
        ("2", "3"): "bulk",
        ("4", "5"): "search",
        ("6", "7"): "bulk",
    }


def test_unwanted_parts_are_stopped_wherever_they_are():
    """Part 0 is answered, 1 and 2 are in flight, 3 waits; item 5 is wanted."""
    made = asking(slots=2)
    made.job.advance(T)
    zero, one = made.take()
    made.answer(zero, T + 1)
    (two,) = made.take()
    assert made.job.keep_only([5], T + 2) == [(2, 4), (6, 8)]
    assert one.batch is not None
    assert one.batch.deadline.cancelled
    assert not two.batch.deadline.cancelled
    assert not made.job.finished
    made.answer(two, T + 3)
    made.answer(one, T + 3)
    assert made.job.is_settled
    assert made.job.error is None
    assert [(start, stop) for start, stop, *_ in made.published] == [(0, 2), (4, 6)]
    made.assert_nothing_left()


def test_part_that_was_not_sent_is_cut_to_its_wanted_items():
    a = deployment("a", SlotQueue(1))
    busy, made = Asking(a), Asking(a, size=8)
    busy.job.advance(T)
    (one,) = busy.take()
    made.job.advance(T)
    assert made.job.keep_only([3, 5], T) == [(0, 3), (6, 8)]
    made.job.advance(T)
    busy.answer(one, T + 1)
    for batch in made.sent.batches or busy.sent.batches:
        assert [list(attempt.call.items) for attempt in batch.attempts] == [["3", "4", "5"]]


def test_items_held_behind_a_stopped_one_are_started():
    """Of a call that was too large, the largest item is sent alone, and the others are held."""
    made = asking(size=4, slots=4, max_inputs=None)
    made.job.advance(T)
    (one,) = made.take()
    made.answer(one, T + 1, Rejected("too many tokens", too_large=True))
    (alone,) = made.take()
    assert len(alone.call.items) == 1
    wanted = [3] if alone.call.items == ["0"] else [0]
    made.job.keep_only(wanted, T + 1)
    assert not made.job.finished
    made.job.advance(T + 1)
    assert sent_items(made) == [wanted]


def test_job_whose_last_part_is_stopped_has_settled_and_wakes_its_callers():
    made = asking()
    made.job.advance(T)
    (one,) = made.take()
    made.answer(one, T + 1)
    wakes = made.wakes
    stopped = made.job.keep_only([0, 1], T + 1)
    assert sum(stop - start for start, stop in stopped) == 6
    assert made.job.is_settled
    assert made.wakes > wakes
    for batch in made.sent.batches:
        made.answer(batch.attempts[0], T + 2)
    made.assert_nothing_left()


@given(st.data())
def test_each_item_is_published_once_or_stopped_once(data):
    """Random results, joins and leaves, in any order."""
    size, slots = 12, data.draw(st.integers(1, 4))
    made = asking(size, slots, data.draw(st.sampled_from([1, 2, 5, None])), flow=FLEX)
    kept, stopped, now, running = list(range(size)), [], T, []
    made.job.advance(now)
    for _ in range(200):
        if made.job.finished:
            break
        now += 0.5
        running += made.take()
        step = data.draw(
            st.sampled_from(["answer", "fail", "too large", "want", "keep", "advance"])
        )
        if step == "want":
            made.job.start_first(data.draw(st.sets(st.sampled_from(kept), min_size=1)), PRIORITY)
        elif step == "keep":
            kept = sorted(data.draw(st.sets(st.sampled_from(kept), min_size=1)))
            stopped += made.job.keep_only(kept, now)
        elif step != "advance" and running:
            one = running.pop(data.draw(st.integers(0, len(running) - 1)))
            error = {
                "fail": ProviderUnavailable("failed with 503"),
                "too large": Rejected("too large", too_large=True),
            }.get(step if len(one.call.items) > 1 or step == "fail" else "answer")
            made.answer(one, now, error)
        made.job.advance(now)
    assert not isinstance(made.job.error, InternalError)
    ranges = [(start, stop) for start, stop, *_ in made.published] + stopped
    items = sorted(item for start, stop in ranges for item in range(start, stop))
    assert len(items) == len(set(items))
    if made.job.finished and made.job.error is None:
        assert items == list(range(size))
        published = {i for start, stop, *_ in made.published for i in range(start, stop)}
        assert published.issuperset(kept)
    made.job.cancel(now)
    for one in [*running, *made.take()]:
        made.answer(one, now)
    assert not made.sent.batches
    made.assert_nothing_left()


def test_bug_while_parts_are_stopped_ends_the_request_for_its_other_callers(monkeypatch):
    made = asking()
    made.job.advance(T)
    (one,) = made.take()
    monkeypatch.setattr(made.job._state._parts, "_kept", lambda *_: 1 / 0)
    assert made.job.keep_only([7], T + 1) == ()
    assert isinstance(made.job.error, InternalError)
    assert made.job.is_settled
    assert made.wakes
    made.answer(one, T + 2)
    made.assert_nothing_left()
