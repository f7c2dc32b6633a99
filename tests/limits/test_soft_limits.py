"""Soft limits: one warning for each limit and period; a request never waits for it."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import DeploymentSettings, ModelSettings, SettingsError, check
from app.domain import Caller, EmbeddingRequest, Outcome, Vectors
from app.limits import soft_limits
from app.limits.counters.memory import MemoryWindows
from app.limits.counters.redis import SharedWindows
from app.limits.key_labels import MAX_LABELLED_KEYS, OTHER_KEYS, KeyLabels
from app.limits.limiter import Limiter
from app.limits.pricing import Prices
from app.limits.soft_limits import SoftLimits
from tests.api.fake import settings
from tests.limits.conftest import await_sent
from tests.redis.patience import PATIENT_S
from tests.support.clock import Clock
from tests.support.server import eventually, free_port

DAY = 86_400


class Webhook:
    """Lists the messages that it is given to send."""

    def __init__(self):
        self.sent = []

    def start(self):
        """Nothing."""

    def close(self):
        """Nothing."""

    def send(self, message_id, kind, data):
        self.sent.append((message_id, kind, data))


@pytest.fixture
def clock():
    return Clock(20_000.0 * DAY)  # in October 2024


@pytest.fixture
def webhook():
    return Webhook()


@pytest.fixture
def make(clock, webhook, monkeypatch):
    """Makes started limiters by this clock, one for each worker."""
    monkeypatch.setattr(soft_limits, "SHUTDOWN_TIMEOUT_S", PATIENT_S)
    made = []

    def make(windows=None, workers=1):
        windows = windows or MemoryWindows(workers, clock)
        soft = SoftLimits(windows, webhook, ["team"])
        prices = Prices(
            {"m": ModelSettings("m", (DeploymentSettings("p", "x", price_per_million_tokens=1e6),))}
        )
        limiter = Limiter(windows, prices, clock=clock, soft_limits=soft)
        soft.start()
        made.append(limiter)
        return limiter

    yield make
    for limiter in made:
        limiter.soft_limits.close()
        limiter.close()


def use(limiter, caller, tokens):
    """Admit a request for so many tokens, and settle it with the same number."""
    grant = limiter.admit(caller, EmbeddingRequest("m", [[5] * tokens]))
    outcome = Outcome(Vectors([b"1234"], [tokens]), provider="p", purchases={("p", "x"): tokens})
    limiter.settle(grant, outcome, outcome.purchases)


def settled(limiter):
    """Wait until all queued warnings are sent, and end the task."""
    limiter.soft_limits.close()


def test_soft_limit_warns_once(make, webhook, caplog):
    limiter = make()
    team = Caller("team", tokens_per_day=100, warn_at=0.8)
    for _ in range(7):
        use(limiter, team, 10)
    before = list(webhook.sent)
    use(limiter, team, 10)
    use(limiter, team, 10)
    use(limiter, team, 10)
    settled(limiter)
    assert before == []
    ((message_id, kind, data),) = webhook.sent
    assert (kind, message_id[:4]) == ("soft_limit.reached", "msg_")
    assert data == {
        "key": "team",
        "limit": "tokens_per_day",
        "amount": 100,
        "warn_at": 0.8,
        "used_share": 0.8,
        "period_start": "2024-10-04T00:00:00+00:00",
        "resets": "2024-10-05T00:00:00+00:00",
    }
    assert limiter.soft_limits.reached == {("team", "tokens_per_day"): 1}
    text = "soft limit: key 'team' has used 80 % of tokens_per_day (100"
    assert caplog.text.count(text) == caplog.text.count("soft limit") == 1


def test_each_limit_and_each_period_warns_once(make, clock, webhook):
    limiter = make()
    team = Caller("team", tokens_per_day=10, tokens_per_month=30, dollars_per_month=60, warn_at=0.5)
    for _ in range(3):
        use(limiter, team, 5)
        use(limiter, team, 5)
        clock.now += DAY
    settled(limiter)
    found = [(data["limit"], data["used_share"]) for _, _, data in webhook.sent]
    assert found == [
        ("tokens_per_day", 0.5),
        ("tokens_per_day", 0.5),
        ("tokens_per_month", 0.5),
        ("tokens_per_day", 0.5),
        ("dollars_per_month", 0.5),
    ]
    assert len({message_id for message_id, _, _ in webhook.sent}) == 5


def test_no_warning_for_rates_or_without_warn_at(make, webhook):
    limiter = make()
    use(limiter, Caller("team", tokens_per_minute=10, warn_at=0.1), 10)
    use(limiter, Caller("other", tokens_per_day=10), 10)
    settled(limiter)
    assert webhook.sent == []


def test_a_request_that_failed_does_not_warn(make, webhook):
    limiter = make()
    team = Caller("team", tokens_per_day=100, warn_at=0.8)
    limiter.settle(limiter.admit(team, EmbeddingRequest("m", [[5] * 90])), None, {})
    settled(limiter)
    assert webhook.sent == []


def test_a_request_never_waits_for_a_warning(make, webhook, monkeypatch):
    limiter = make()
    held, entered = threading.Event(), threading.Event()

    def claim(*_):
        entered.set()
        return held.wait(PATIENT_S)

    monkeypatch.setattr(limiter.windows, "claim", claim)
    use(limiter, Caller("team", tokens_per_day=10, warn_at=0.5), 5)
    assert entered.wait(PATIENT_S)
    use(limiter, Caller("other", tokens_per_day=10, warn_at=0.5), 5)
    assert webhook.sent == []
    held.set()
    settled(limiter)
    assert len(webhook.sent) == 2
    assert set(limiter.soft_limits.reached) == {
        ("team", "tokens_per_day"),
        (OTHER_KEYS, "tokens_per_day"),
    }


def test_unexpected_exception_does_not_end_the_thread(make, webhook, monkeypatch, caplog):
    limiter = make()
    with monkeypatch.context() as patch:
        patch.setattr(limiter.windows, "claim", lambda *_: 1 / 0)
        use(limiter, Caller("team", tokens_per_day=10, warn_at=0.5), 5)
        eventually(lambda: "the warning of a soft limit failed" in caplog.text)
    use(limiter, Caller("other", tokens_per_day=10, warn_at=0.5), 5)
    settled(limiter)
    assert len(webhook.sent) == 1


def test_workers_sharing_counters_warn_once(make, clock, webhook, valkey, redis, patient_steps):
    clock.now = 60.0 * 40_000_000  # far ahead, because the server expires keys by its own clock
    windows = [SharedWindows(valkey.url, timeout=PATIENT_S, clock=clock) for _ in range(3)]
    workers = [make(of_one) for of_one in windows]
    team = Caller("team", tokens_per_month=100, warn_at=0.8)
    for _ in range(3):
        for worker in workers:
            use(worker, team, 10)
            await_sent(worker.windows)
    for worker in workers:
        settled(worker)
    assert len(webhook.sent) == 1
    assert sum(sum(worker.soft_limits.reached.values()) for worker in workers) == 1
    removed = workers[0].windows.forget("")
    assert removed == 1  # a claim is not a counter
    assert list(redis.scan_iter("*:w")) == []


def test_claim_succeeds_while_the_server_is_away(clock):
    windows = SharedWindows(f"redis://127.0.0.1:{free_port()}/0", timeout=0.05, clock=clock)
    rule_period = Limiter(windows, clock=clock)._periods["day"]
    assert windows.claim("{k}:0", rule_period, 1) is True
    windows.close()


@given(st.lists(st.integers(0, 30), max_size=20), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_a_warning_comes_exactly_when_the_share_is_reached(amounts, warn_at):
    soft = SoftLimits(windows := MemoryWindows(1, lambda: 5.0))
    limiter = Limiter(windows, clock=lambda: 5.0, soft_limits=soft)
    team, used = Caller("team", tokens_per_day=1000, warn_at=warn_at), 0
    for amount in amounts:
        use(limiter, team, amount)
        used += amount
        assert bool(soft._waiting) == (used >= warn_at * 1000)
    assert len(soft._waiting) <= 1


def test_labels_of_keys_are_bounded():
    names = [f"key-{number:04}" for number in range(MAX_LABELLED_KEYS + 5)]
    labels = KeyLabels(names)
    assert {labels.label(name) for name in names} == {*names[:MAX_LABELLED_KEYS], OTHER_KEYS}
    assert labels.label("") == ""


@pytest.mark.parametrize("value", [0, -0.5, 1.01, 80, "much"])
def test_warn_at_outside_0_to_1_is_refused(value):
    keys = {"team": {"sha256": "a" * 64, "tokens_per_day": 5, "warn_at": value}}
    with pytest.raises(SettingsError, match=r"KEYS\['team'\]\['warn_at'\]"):
        check(settings(KEYS=keys))
