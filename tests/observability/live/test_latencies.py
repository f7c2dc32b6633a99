"""Percentiles of the histogram are near the exact ones."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.observability.live.latencies import BOUNDS, percentile, place_of


def histogram(latencies):
    counts = [0] * len(BOUNDS)
    for latency in latencies:
        counts[place_of(latency)] += 1
    return counts


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0003, 300), min_size=1, max_size=200), st.sampled_from((0.5, 0.95, 0.99))
)
def test_percentile_is_at_most_a_fifth_from_the_exact_one(latencies, share):
    ordered = sorted(latencies)
    # The smallest latency that this share of all is not above.
    exact = next(x for i, x in enumerate(ordered, 1) if i >= share * len(ordered) - 1e-9)
    (found,) = percentile([histogram(latencies)], share)
    assert exact / 1.2 <= found <= exact * 1.2


def test_each_row_has_its_own_percentile():
    found = percentile([histogram([0.01] * 9), [0] * len(BOUNDS), histogram([1.0] * 9)], 0.5)
    assert found[1] is None
    assert 0.008 < found[0] < 0.012
    assert 0.8 < found[2] < 1.2


def test_latencies_beyond_the_last_bound_count_there():
    assert place_of(10_000) == len(BOUNDS) - 1
    assert place_of(0) == 0
    assert percentile([histogram([10_000])], 0.99)[0] <= BOUNDS[-1]
