"""All metrics. Their labels are bounded: names from the settings, and constants of this code.

End users, inputs and other texts of clients are never labels. A model that is not configured
has the empty name; only keys of the settings have labels of their own, at most 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "embeddings_proxy_"

#: Seconds of calls over a network: the buckets of gen_ai.client.operation.duration.
#: Source: opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics.
CALL_BUCKETS = tuple(0.01 * 2**n for n in range(14))  # 10 ms to 82 s
#: Seconds of waits and overhead, which are usually below a millisecond.
FINE_BUCKETS = tuple(
    ms / 1000 for ms in (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000)
)
COUNT_BUCKETS = tuple(2**n for n in range(12))


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric. ``mode`` says how the values of a gauge are combined from those of all workers."""

    kind: Literal["counter", "gauge", "histogram"]
    word: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    mode: Literal["livesum", "livemax", "livemin"] = "livesum"

    @property
    def name(self) -> str:
        """The name without the suffixes of counters and histograms."""
        return PREFIX + self.word

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that queries use."""
        if self.kind == "histogram":
            return tuple(self.name + end for end in ("_bucket", "_count", "_sum"))
        return (self.name + ("_total" if self.kind == "counter" else ""),)


# Requests

REQUESTS = Metric("counter", "requests", "Requests answered.", ("route", "model", "status"))
ERRORS = Metric(
    "counter",
    "errors",
    "Errors answered, by whose they are: caller, policy, provider, dependency, proxy.",
    ("side", "code", "model"),
)
REFUSED = Metric("counter", "limits_refused", "Requests refused for a limit, by which.", ("limit",))
DURATION = Metric(
    "histogram",
    "request_duration_seconds",
    "From a request's head to its answer, of embeddings served.",
    ("model",),
    CALL_BUCKETS,
)
OVERHEAD = Metric(
    "histogram",
    "overhead_seconds",
    "The part of that in which no provider was waited for; reading the body is in it.",
    ("model",),
    FINE_BUCKETS,
)
ITEMS = Metric("counter", "items", "Items embedded for callers.", ("model",))
TOKENS = Metric("counter", "tokens", "Tokens that answers report as used.", ("model",))
CACHED_TOKENS = Metric(
    "counter", "cached_tokens", "The part of those that came from a cache.", ("model",)
)
COST = Metric("counter", "cost_dollars", "Dollars for tokens bought from providers.", ("model",))
KEY_COST = Metric("counter", "key_cost_dollars", "The same by key.", ("key",))
IN_FLIGHT = Metric("gauge", "in_flight", "Requests being served.")

# Calls to providers

_DEPLOYMENT = ("model", "provider")
CALL_DURATION = Metric(
    "histogram",
    "call_duration_seconds",
    "Calls to providers; error is empty where they brought vectors.",
    (*_DEPLOYMENT, "error"),
    CALL_BUCKETS,
)
BILLED_TOKENS = Metric(
    "counter", "billed_tokens", "Tokens that providers counted, or would have.", _DEPLOYMENT
)
CALL_ITEMS = Metric("histogram", "call_items", "Items in one call.", ("provider",), COUNT_BUCKETS)
CALL_REQUESTS = Metric(
    "histogram", "call_requests", "Requests merged into one call.", ("provider",), COUNT_BUCKETS
)
QUEUE = Metric(
    "histogram",
    "queue_seconds",
    "Waits for a slot at a provider, by service tier; checks of vectors are flex.",
    ("provider", "service_tier"),
    FINE_BUCKETS,
)
RETRIES = Metric(
    "counter", "retries", "Failed attempts that were repeated.", (*_DEPLOYMENT, "error")
)
HEDGES = Metric("counter", "hedges", "Calls sent beside a slow one.", _DEPLOYMENT)
EJECTIONS = Metric("counter", "ejections", "Deployments ejected, probes included.", _DEPLOYMENT)
WAITING = Metric("gauge", "waiting", "Requests that wait for a slot.", ("provider",))
CALLS_IN_FLIGHT = Metric("gauge", "calls_in_flight", "Calls under way.", ("provider",))
CONCURRENCY = Metric(
    "gauge", "concurrency", "Calls at once that may be made, of all workers.", ("provider",)
)
STATE = Metric(
    "gauge",
    "deployment_workers",
    "Workers that see a deployment as ok, resting, ejected, or ejected for drift (drifted).",
    (*_DEPLOYMENT, "state"),
)

# Checks of vectors against the reference of their space, where one is recorded

COSINE = Metric(
    "gauge",
    "deployment_cosine",
    "Cosine of a deployment's vectors with the reference of their space: lowest and median.",
    (*_DEPLOYMENT, "statistic"),
    mode="livemin",
)
DRIFTED = Metric(
    "gauge",
    "deployment_drifted",
    "1 where the lowest cosine of a deployment is below CHECK['min_cosine'].",
    _DEPLOYMENT,
    mode="livemax",
)
SPACE_CHECK_AGE = Metric(
    "gauge",
    "space_check_age_seconds",
    "Age of the last check that compared a deployment's vectors, or of the first that failed.",
    _DEPLOYMENT,
    mode="livemax",
)
SPACE_CHECK_INTERVAL = Metric(
    "gauge", "space_check_interval_seconds", "CHECK['every'].", mode="livemax"
)
SPACE_CHECKS = Metric(
    "counter",
    "space_checks",
    "Checks of a deployment by outcome: agreed, drifted, failed, skipped.",
    (*_DEPLOYMENT, "outcome"),
)

# Caches, by level: memory, redis

_LEVEL = ("level",)
CACHE_HITS = Metric("counter", "cache_hits", "Items found in a cache.", _LEVEL)
CACHE_MISSES = Metric("counter", "cache_misses", "Items not found there.", _LEVEL)
CACHE_EVICTIONS = Metric("counter", "cache_evictions", "Items dropped for want of room.", _LEVEL)
CACHE_BYTES = Metric("gauge", "cache_bytes", "Bytes that a cache holds, of all workers.", _LEVEL)
CACHE_ENTRIES = Metric("gauge", "cache_entries", "Items that it holds.", _LEVEL)
# Of the level in a server only:
CACHE_LOST = Metric(
    "counter", "cache_lost", "Items missed because the server was slow or away.", _LEVEL
)
CACHE_SPOILED = Metric(
    "counter", "cache_spoiled", "Items found spoiled, or of another version or width.", _LEVEL
)
CACHE_WRITTEN = Metric("counter", "cache_written", "Items written to the server.", _LEVEL)
CACHE_DROPPED = Metric(
    "counter", "cache_dropped", "Items never written: server away, or too many waited.", _LEVEL
)
CACHE_DOWN = Metric("gauge", "cache_down", "Workers that cannot reach the server.", _LEVEL)

# Limits that a server counts

LIMITS_UNCHECKED = Metric(
    "counter", "limits_unchecked", "Requests let in because the server was slow or away."
)
LIMITS_DROPPED = Metric(
    "counter", "limits_dropped", "Corrections of what requests were taken for, lost."
)
LIMITS_DOWN = Metric("gauge", "limits_down", "Workers that cannot reach the server.")

SOFT_LIMITS = Metric(
    "counter",
    "soft_limits_reached",
    "Quotas and budgets of keys of which the share warn_at is used, once a period.",
    ("key", "limit"),
)
NOTIFICATIONS = Metric(
    "counter", "notifications", "Webhook messages by result: sent, failed, dropped.", ("result",)
)

# Abuse

KEY_REQUESTS = Metric(
    "counter",
    "key_requests",
    "Requests for embeddings, by key and result: ok, refused, invalid, failed.",
    ("key", "result"),
)
# Only where there is a ledger:
UNUSUAL = Metric(
    "gauge",
    "unusual",
    "Keys and end users (who) that were over USAGE['unusual'] within the last hour.",
    ("who",),
    mode="livemax",
)

# The ledger

LEDGER_LAG = Metric(
    "gauge",
    "ledger_lag_seconds",
    "Age of the oldest usage that a worker has not written yet, to a few seconds.",
    mode="livemax",
)
LEDGER_RECORDED = Metric("counter", "ledger_recorded", "Rows of usage there should be.")
LEDGER_WRITTEN = Metric("counter", "ledger_written", "Rows of usage in the database.")
LEDGER_LOST = Metric("counter", "ledger_lost", "Rows of usage that will never be written.")
LEDGER_QUEUED = Metric("gauge", "ledger_queued", "Rows of usage in memory.")
LEDGER_SPOOLED = Metric("gauge", "ledger_spooled_bytes", "Bytes of usage on disk, to be written.")
LEDGER_DOWN = Metric("gauge", "ledger_down", "Workers that cannot reach the database.")

# The server

WORKERS = Metric("gauge", "workers", "Worker processes.")
STARTS = Metric("counter", "worker_starts", "Worker processes started.")

ALL = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
