"""Parts become one answer, in the order of the items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.answer import Answer
from app.domain import Vectors


def vectors(numbers, **options):
    return Vectors([b"%d" % n for n in numbers], list(numbers), **options)


@given(st.data())
def test_parts_in_any_order(data):
    cuts = sorted(data.draw(st.sets(st.integers(1, 19))))
    parts = list(zip([0, *cuts], [*cuts, 20], strict=True))
    by = data.draw(st.lists(st.sampled_from("abc"), min_size=len(parts), max_size=len(parts)))
    answer = Answer(20)
    assert not answer.begun
    for (start, stop), name in data.draw(st.permutations(list(zip(parts, by, strict=True)))):
        assert not answer.complete
        answer.put(start, stop, vectors(range(start, stop)), (name, "m"))
        assert answer.begun
    assert answer.complete
    outcome = answer.outcome(3, 0.5)
    assert outcome.vectors == vectors(range(20))
    each = [
        (n, "m") for (start, stop), n in zip(parts, by, strict=True) for _ in range(start, stop)
    ]
    assert outcome.sources == (each if len(set(by)) > 1 else each[:1])
    assert sorted(outcome.provider.split(",")) == sorted(set(by))
    assert (outcome.attempts, outcome.upstream_seconds) == (3, 0.5)


def test_one_estimate_makes_all_of_it_one():
    answer = Answer(2)
    answer.put(1, 2, vectors([1], estimated=True), ("a", "m"))
    answer.put(0, 1, vectors([0]), ("a", "m"))
    assert answer.outcome(1, 0).vectors.estimated


@pytest.mark.parametrize("given", [vectors([]), vectors([1, 2, 3]), Vectors([b"1", b"2"], [1])])
def test_no_other_number_of_vectors_is_taken(given):
    with pytest.raises(ValueError, match="for 2 items"):
        Answer(2).put(0, 2, given, ("a", "m"))
