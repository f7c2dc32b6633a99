"""What holds for every load: each request ends once, and no figure is impossible."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.simulation.figures import group_figures, provider_figures
from app.cli.simulation.load import CallerLoad, Load, ProviderLoad
from app.cli.simulation.run import FLOWS, simulate
from app.config import check
from app.domain import TIERS
from app.providers import registry

NAMES = {
    "PROVIDERS": {
        "a": {"kind": "openai", "api_key": "k", "concurrency": 4, "max_inputs": 16},
        "b": {"kind": "openai", "api_key": "k", "concurrency": 2, "timeout": 2},
    },
    "MODELS": {
        "m": {"deployments": [{"provider": "a", "model": "x"}]},
        "n": {
            "hedge": True,
            "space": "s",
            "deployments": [
                {"provider": "a", "model": "x", "concurrency": 1, "requests_per_minute": 60},
                {"provider": "b", "model": "x", "tier": 1, "tokens_per_minute": 100_000},
            ],
        },
    },
    "KEYS": {
        "k": {"sha256": "0" * 64, "share": 3, "fair_users": True, "service_tiers": list(TIERS)},
        "l": {"sha256": "1" * 64, "concurrent_requests": 3, "service_tiers": list(TIERS)},
    },
    "LIMITS": {"waiting": 20},
}
callers = st.builds(
    CallerLoad,
    key=st.sampled_from("kl"),
    model=st.sampled_from("mn"),
    tier=st.sampled_from([None, *TIERS]),
    user=st.sampled_from([None, "u", "v"]),
    texts=st.sampled_from([(1, 1), (1, 5), (40, 40)]),
    tokens=st.sampled_from([(1, 1), (5, 300)]),
    timeout=st.sampled_from([1, 5, 600]),
    clients=st.integers(1, 8),
) | st.builds(
    CallerLoad,
    key=st.sampled_from("kl"),
    model=st.sampled_from("mn"),
    per_second=st.floats(0.5, 30),
    timeout=st.sampled_from([1, 600]),
)
times = st.builds(
    ProviderLoad,
    name=st.just(""),
    seconds_a_call=st.floats(0.001, 3),
    seconds_a_text=st.floats(0, 0.1),
)


@settings(max_examples=30)
@given(st.lists(callers, min_size=1, max_size=4), times, times, st.sampled_from(sorted(FLOWS)))
@pytest.mark.timeout(300)
def test_each_request_ends_by_its_timeout_and_figures_add_up(callers_, of_a, of_b, sharing):
    load = Load(tuple(callers_), {"a": of_a, "b": of_b})
    run = simulate(load, check(NAMES, registry), 10, sharing=sharing)
    for request in run.requests:
        timeout = load.callers[request.caller].timeout
        assert request.ended_at - request.arrived_at <= timeout + 0.01
        assert (request.queue_s is None) == (request.code is not None)
    groups, providers = group_figures(run), provider_figures(run)
    assert sum(one.requests for one in groups) <= len(run.requests)
    shares = sum(one.share_of_texts for one in groups)
    assert shares == pytest.approx(1) or not any(one.texts_per_second for one in groups)
    assert all(0 <= one.slots_used <= 1.000001 for one in providers)
    assert all(sum(one.errors.values()) <= one.requests for one in groups)
