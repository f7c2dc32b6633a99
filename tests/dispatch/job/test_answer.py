"""Parts become one answer, in the order of the items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.job.answer import Answer, CallTimes
from app.domain import Vectors


def vectors(numbers, **options):
    return Vectors([b"%d" % n for n in numbers], list(numbers), **options)


@given(st.data())
def test_parts_are_joined_in_item_order(data):
    cuts = sorted(data.draw(st.sets(st.integers(1, 19))))
    parts = list(zip([0, *cuts], [*cuts, 20], strict=True))
    by = data.draw(st.lists(st.sampled_from("abc"), min_size=len(parts), max_size=len(parts)))
    answer = Answer(20)
    assert not answer.has_vectors
    for (start, stop), name in data.draw(st.permutations(list(zip(parts, by, strict=True)))):
        assert not answer.is_complete
        answer.put(start, stop, vectors(range(start, stop)), (name, "m"))
        assert answer.has_vectors
    assert answer.is_complete
    times = CallTimes()
    times.calls = 3
    outcome = answer.outcome(times)
    assert outcome.vectors == vectors(range(20))
    each = [
        (n, "m") for (start, stop), n in zip(parts, by, strict=True) for _ in range(start, stop)
    ]
    assert outcome.sources == (each if len(set(by)) > 1 else each[:1])
    assert sorted(outcome.provider.split(",")) == sorted(set(by))
    assert (outcome.attempts, outcome.upstream_seconds) == (3, 0.0)


def test_one_estimated_part_makes_the_outcome_estimated():
    answer = Answer(2)
    answer.put(1, 2, vectors([1], estimated=True), ("a", "m"))
    answer.put(0, 1, vectors([0]), ("a", "m"))
    assert answer.outcome(CallTimes()).vectors.estimated


@pytest.mark.parametrize("given", [vectors([]), vectors([1, 2, 3]), Vectors([b"1", b"2"], [1])])
def test_put_of_a_wrong_number_of_vectors_is_refused(given):
    with pytest.raises(ValueError, match="for 2 items"):
        Answer(2).put(0, 2, given, ("a", "m"))


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (1, 2), (0, 1)])
def test_second_vector_of_an_item_is_refused(start, stop):
    answer = Answer(4)
    answer.put(0, 2, vectors([0, 1]), ("a", "m"))
    with pytest.raises(ValueError, match="already"):
        answer.put(start, stop, vectors(range(start, stop)), ("b", "m"))
    assert answer.purchases == {("a", "m"): 1}
    assert not answer.is_complete


@pytest.mark.parametrize("empty", [0, 1])
def test_empty_vector_is_refused(empty):
    rows = [b"1234", b"1234"]
    rows[empty] = b""
    answer = Answer(2)
    with pytest.raises(ValueError, match="empty"):
        answer.put(0, 2, Vectors(rows, [1, 1]), ("a", "m"))
    assert not answer.has_vectors


@given(st.data())
def test_rejected_put_changes_nothing(data):
    """A second put, an empty row and a wrong count raise at any time; the answer stays right."""
    cuts = sorted(data.draw(st.sets(st.integers(1, 9))))
    parts = data.draw(st.permutations(list(zip([0, *cuts], [*cuts, 10], strict=True))))
    answer, done = Answer(10), []
    for start, stop in parts:
        wrong = [vectors(range(start, stop + 1)), Vectors([b""] * (stop - start), [1] * 9)]
        for given_rows in wrong:
            with pytest.raises(ValueError, match="vector"):
                answer.put(start, stop, given_rows, ("a", "m"))
        answer.put(start, stop, vectors(range(start, stop)), ("a", "m"))
        done.append((start, stop))
        for again in done:
            with pytest.raises(ValueError, match="already"):
                answer.put(*again, vectors(range(*again)), ("a", "m"))
    assert answer.outcome(CallTimes()).vectors == vectors(range(10))
    assert sum(answer.purchases.values()) == sum(range(10))


def test_vectors_of_another_width_are_refused():
    answer = Answer(3)
    assert answer.fits(vectors([1000]))
    answer.put(0, 1, vectors([1000]), ("a", "m"))
    assert answer.fits(vectors([2000, 3000]))
    assert not answer.fits(vectors([2000, 30]))


def test_tokens_bought_are_counted_by_deployment():
    answer = Answer(4)
    for start, name in enumerate("abab"):
        answer.put(start, start + 1, vectors([start]), (name, "m"))
    assert answer.purchases == {("a", "m"): 2, ("b", "m"): 4}
