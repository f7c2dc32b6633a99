"""300 fixed arrangements of the search: `make test-deep` tries many more."""

import pytest

from tests.dispatch.search import again, search

EXAMPLES = 300
GROUPS = 30  # so that a failure does not hide those of all later seeds, and none takes long


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_invariant_is_violated(group):
    """Checks all invariants of `invariants`."""
    for seed in range(group, EXAMPLES, GROUPS):
        broken = search(seed)
        assert not broken, "\n".join([f"seed {seed}; alone: {again(seed)}", *broken[:10]])


def test_a_seed_repeats_its_simulation_exactly():
    assert all(search(seed) == search(seed) for seed in range(5))
