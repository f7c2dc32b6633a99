"""Who is served when many wait for few slots, in virtual time with the real dispatch."""

import pytest

from app.domain import Flow
from app.errors import Throttled
from tests.dispatch.fair_load import (
    A_TEXT,
    BULK,
    FULL_CALL,
    MOST,
    QUERY,
    SECONDS,
    SLOTS,
    ask_queries,
    at,
    jain,
    keep_asking,
    provider,
    served,
    sized,
    waits,
)
from tests.dispatch.members import good
from tests.dispatch.simulator import simulated


@pytest.mark.parametrize("tier", ["default", "flex"])
@pytest.mark.parametrize("key", ["query", "bulk"])
def test_a_query_does_not_wait_behind_an_ingest(tier, key):
    with provider() as run:
        keep_asking(run, Flow("bulk", tier=tier), clients=64, texts=500)
        queries = ask_queries(run, flow=Flow(key))
        run.world.run()
    waited = waits(queries)
    assert at(0.5, waited) <= (0.060 if tier == "default" else 0.040)
    assert at(0.99, waited) <= FULL_CALL + 3 * A_TEXT


def test_an_ingest_keeps_its_rate_beside_queries():
    rates = []
    for with_queries in (False, True):
        with provider() as run:
            keep_asking(run, BULK, clients=64, texts=500)
            if with_queries:
                ask_queries(run)
            run.world.run()
        rates.append(served(run)["bulk"])
    assert rates[1] >= 0.97 * rates[0]
    assert rates[0] >= 0.97 * SECONDS * SLOTS * MOST / FULL_CALL


@pytest.mark.parametrize(("texts", "most"), [(1, 4), (40, MOST), (500, MOST)])
def test_keys_share_an_overloaded_provider_evenly(texts, most):
    keys = [f"k{n}" for n in range(8)]
    with provider(sized(0.1, 0.002), most=most) as run:
        for n, key in enumerate(keys):
            keep_asking(
                run, Flow(key), (2 if texts > MOST else 20) + 5 * n, texts
            )  # each key with more clients
        run.world.run()
    for start in (2, 10):
        texts_of = served(run, start, start + 10)
        assert jain([texts_of[key] for key in keys]) >= 0.98


def test_keys_are_served_by_their_shares():
    with provider() as run:
        for share in (1, 2, 4):
            keep_asking(run, Flow(f"k{share}", share=share), clients=32, texts=200)
        run.world.run()
    texts = served(run, 2)
    assert texts["k2"] / texts["k1"] == pytest.approx(2, rel=0.05)
    assert texts["k4"] / texts["k1"] == pytest.approx(4, rel=0.05)


def test_flex_gets_its_minimum_beside_others_and_else_all():
    with provider() as run:
        keep_asking(run, Flow("flex", tier="flex"), clients=32, texts=500)
        keep_asking(run, QUERY, clients=16, texts=200, seconds=SECONDS / 2)
        run.world.run()
    beside, alone = served(run, 1, SECONDS / 2), served(run, SECONDS / 2 + 3, SECONDS)
    assert beside["flex"] >= 0.045 * sum(beside.values())
    # The last slot stays free for queries.
    full = (SECONDS / 2 - 3) * (SLOTS - 1) * MOST / FULL_CALL
    assert alone["flex"] >= 0.97 * full


@pytest.mark.parametrize("both", [False, True])
def test_flex_leaves_the_last_slot_of_a_deployment_to_queries(both):
    deployment = {"provider": "a", "max_inputs": MOST, "concurrency": SLOTS}
    with simulated({"a": sized()}, {"m": [deployment]}, concurrency=64) as run:
        keep_asking(run, Flow("bulk", tier="flex"), clients=64, texts=500, seconds=10)
        if both:
            keep_asking(run, QUERY, clients=16, texts=200, seconds=10)
        queries = ask_queries(run, number=0 if both else 80)
        run.world.run()
    if both:
        texts = served(run, 1, 10)
        assert texts["bulk"] >= 0.03 * sum(texts.values())
    else:
        assert at(0.99, waits(queries)) <= 0.020


def test_a_small_share_of_bulk_work_takes_no_time_from_small_requests():
    alone, beside = [], []
    for into, clients in ((alone, 0), (beside, 16)):
        with provider(sized(0.050, 0.001), slots=8) as run:
            keep_asking(run, Flow("bulk", tier="flex"), clients, texts=500)
            into += ask_queries(run)
            run.world.run()
    assert at(0.99, waits(beside)) <= 2 * at(0.99, waits(alone))


def test_a_noisy_key_does_not_fill_the_queue_for_others():
    with provider(good(0.5), most=1, merge=False, waiting=100) as run:
        noisy = [run.ask("m", [f"n{n}"], after=n * 0.01, flow=Flow("noisy")) for n in range(600)]
        quiet = [run.ask("m", [f"q{n}"], after=3 + n * 0.3, flow=QUERY) for n in range(20)]
        run.to_the_end()
    assert at(1, waits(quiet)) <= 2.0
    refused = [one.error for one in noisy if one.error]
    assert {error.code for error in refused} == {"overloaded"}
    # 100 wait, and 8 leave in a second.
    assert at(0.5, sorted(error.retry_after for error in refused)) == pytest.approx(12, rel=0.3)


def test_bulk_work_is_cut_so_that_no_call_is_long():
    with provider(sized(0.010, 0.010), slots=2, most=2048) as run:
        keep_asking(run, BULK, clients=8, texts=4096, seconds=120)
        queries = ask_queries(run, flow=QUERY, every=1.0, number=100)
        run.world.run()
    known = [call for call in run.calls() if call.began > 1060]
    assert max(call.ended - call.began for call in known) <= 1.1
    assert at(0.9, waits(queries[60:])) <= 1.1


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_the_first_bulk_work_at_an_unknown_provider_does_not_hold_slots_for_long(slots):
    with provider(sized(0.010, 0.010), slots=slots, most=2048) as run:
        keep_asking(run, Flow("bulk", tier="flex"), clients=4, texts=2048, seconds=8)
        queries = [run.ask("m", [f"q{n}"], after=0.1 + n * 0.15, flow=QUERY) for n in range(50)]
        run.world.run(until=1000 + 60)
    # While a few sizes are unknown, one call of four times the known sizes may be long.
    assert at(0.9, waits(queries)) <= 1.1
    assert at(1, waits(queries)) <= 3.0


def test_flex_waits_for_a_quota_instead_of_an_early_429():
    deployment = {"provider": "a", "requests_per_minute": 10}
    for tier, refused in (("flex", 0), ("default", 20)):
        with simulated({"a": good()}, {"m": [deployment]}, merge=False) as run:
            flow = Flow("k", tier=tier)
            asked = [run.ask("m", [f"t{n}"], after=n * 0.01, flow=flow) for n in range(30)]
            run.to_the_end()
        assert sum(one.code == "rate_limit_exceeded" for one in asked) == refused


def test_flex_waits_for_a_rest_until_its_deadline():
    def resting(world, call):
        if world.now < 1000 + 200:
            return 0.01, Throttled("asked us to slow down (429)", retry_after=20)
        return 0.01, None

    with simulated({"a": resting}, {"m": [{"provider": "a"}]}) as run:
        flow = Flow("k", tier="flex")
        served_, late = run.ask("m", ["x"], flow=flow), run.ask("m", ["y"], timeout=30, flow=flow)
        early = run.ask("m", ["z"])
        run.to_the_end()
    assert served_.error is None
    assert early.code == "rate_limit_exceeded"
    assert late.code in ("rate_limit_exceeded", "timeout")
    assert len(run.calls()) <= 200 / 20 + 3


def test_bulk_work_that_waits_for_a_quota_does_not_delay_queries():
    deployment = {"provider": "a", "requests_per_minute": 60}
    with simulated({"a": good()}, {"m": [deployment]}, merge=False) as run:
        flow = Flow("bulk", tier="flex")
        bulk = [run.ask("m", [f"t{n}"], after=n * 0.01, flow=flow) for n in range(300)]
        queries = ask_queries(run, number=60, every=3.0)
        run.to_the_end()
    assert not [one.error for one in bulk if one.error]
    assert at(1, waits(queries)) <= 2.5


def test_flex_gets_its_minimum_of_a_quota_that_others_use_up():
    deployment = {"provider": "a", "requests_per_minute": 600}
    with simulated({"a": good()}, {"m": [deployment]}, merge=False, concurrency=16) as run:
        keep_asking(run, Flow("bulk", tier="flex"), clients=4, texts=1, seconds=180)
        keep_asking(run, QUERY, clients=15, texts=1, seconds=180)
        run.world.run()
    texts = served(run, 60, 180)
    assert texts["bulk"] >= 0.03 * sum(texts.values())
    assert sum(texts.values()) >= 0.95 * 2 * 600


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_calls_of_flex_are_short_where_no_slot_is_kept(slots):
    with provider(slots=slots) as run:
        keep_asking(run, Flow("bulk", tier="flex"), clients=64, texts=500)
        queries = ask_queries(run)
        run.world.run()
    assert at(0.99, waits(queries)) <= 0.110
    assert served(run)["bulk"] >= 0.9 * SECONDS * slots * MOST / FULL_CALL
