"""The default settings. Copy what you want to change into a file of your own and name that file in
``PROXY_SETTINGS``: each name it defines replaces the one here, whole. Another name in upper case is
a mistake; begin a name of your own with an underscore.

With nothing set but ``ALPHANEURAL_API_KEY`` the proxy serves the embedded model ``wordllama``, and
where ``OPENAI_API_KEY`` is set too, OpenAI's three embedding models. Check a file before using it:
``flask --app wsgi check-settings``. Never write a secret into it that the environment can hold.
"""

import hashlib
import os

#: Who embeds. "kind" names the wire format (docs/providers.md); the rest depends on it. Optional
#: for each: "timeout" (seconds one attempt may take, default 60), "connect_timeout" (seconds,
#: default 5), "max_inputs" and "max_tokens" (of one call), "concurrency" (calls at once of all
#: workers together, default 64), "merge" (False: requests that wait never leave in one call),
#: "proxy" (URL of an egress proxy), "ca_bundle" (path of a PEM file), "headers" (sent with every
#: call).
PROVIDERS = {"local": {"kind": "local"}}

#: What clients may ask for, by the name they use. "dimensions" is the width of a vector;
#: "matryoshka" says that its first values are a vector too (True, or the widths that are allowed).
#: Every deployment of a model must serve the same vector space. Optional for a model: "pass" (names
#: of fields that its provider may be sent as they come), "hedge" (True: a call that is late is
#: repeated elsewhere), "tokenizer" (a tiktoken encoding or the path of a tokenizer.json). Optional
#: for a deployment: "weight", "tier" (0 is tried first), "max_inputs", "max_tokens", "concurrency",
#: "requests_per_minute", "tokens_per_minute", "price_per_million_tokens": see docs/dispatch.md.
MODELS = {
    "wordllama": {
        "dimensions": 256,
        "matryoshka": [64, 128, 256],  # the widths it was trained for
        "deployments": [{"provider": "local", "model": "l2_supercat"}],
    },
}

if os.environ.get("OPENAI_API_KEY"):
    PROVIDERS["openai"] = {
        "kind": "openai",
        "base_url": "https://api.openai.com/v1",
        "api_key": os.environ["OPENAI_API_KEY"],
    }
    MODELS |= {
        name: {"dimensions": width, "deployments": [{"provider": "openai", "model": name}]}
        for name, width in {
            "text-embedding-3-small": 1536,
            "text-embedding-3-large": 3072,
            "text-embedding-ada-002": 1536,
        }.items()
    }

#: Who may ask: a name for the logs → the SHA-256 of the key (hex) and the models it may use.
#: `flask --app wsgi new-key NAME` makes one. Never the key itself. Limits of a key, each optional:
#: "requests_per_minute", "tokens_per_minute", "tokens_per_day", "tokens_per_month",
#: "dollars_per_month" (by the "price_per_million_tokens" of the deployments), and for each end user
#: of it (the field `user`) "user_requests_per_minute", "user_tokens_per_minute". "warn_at": 0.8
#: warns when 80 % of a limit of a day or a month is used (log, metric and, with NOTIFY, a webhook).
KEYS = {}
if os.environ.get("ALPHANEURAL_API_KEY"):
    KEYS["default"] = {
        "sha256": hashlib.sha256(os.environ["ALPHANEURAL_API_KEY"].encode()).hexdigest(),
        "models": ["*"],
    }

#: Vectors kept in each worker for requests with `"caching": true`. "ttl" in seconds, "max_bytes"
#: all overhead included, "scope": "shared", or "key" so that no key sees what another has cached.
#: None: caching is not configured. "url": a Redis or Valkey behind that of the workers, which all
#: workers and hosts share: "redis://:password@host:6379/0", "rediss://…" (TLS), "unix:///path",
#: "redis+sentinel://host:26379,host:26379/service/0", "redis+cluster://host:6379,host:6379".
#: "timeout": seconds an answer waits for it at most (default 0.05; slower or dead: hits are lost).
#: "namespace": what its keys begin with (default "embeddings").
CACHE = {"ttl": 3600, "max_bytes": 256 * 2**20, "scope": "shared"}

#: "body_bytes" of a request, "inputs" in it, and how many may wait here for a provider's slot.
#: The limits of keys are counted by each worker for its share of them, and from 0 after a restart;
#: with the "url" of a Redis or Valkey (as in CACHE; also "timeout", "namespace") exactly, over all
#: workers and hosts. It has to keep what it is told ("maxmemory-policy" noeviction or volatile-*);
#: while it is slow or dead nobody is refused, unless "when_away" is "refuse" (default "allow"):
#: then keys with a limit of a day or a month are. What is used meanwhile is charged later.
#: "count_cached_tokens" (default True): whether tokens served from the cache count; money is never
#: counted for them. "timezone": in which the days and months of limits begin ("Europe/Berlin";
#: default "UTC").
LIMITS = {"body_bytes": 32 * 2**20, "inputs": 8192, "waiting": 1000}

#: "format": "json" (one object a line, for machines) or "human"; "level": of the `logging` module.
LOGS = {"format": os.environ.get("LOG_FORMAT", "json"), "level": "INFO"}

#: A row a request in a database, for reports and bills. None: no ledger. See docs/usage.md.
#: "url": "sqlite:////var/lib/proxy/usage.db" for one host, "postgresql+psycopg://user:password@host/
#: database" for many. Then run `flask --app wsgi usage migrate` once, and after each upgrade.
#: Optional: "retention_days" (default 400; None: for ever), "spool" (a directory for rows on their
#: way, default beside the SQLite file, else "usage-spool"; never of two hosts), "spool_bytes" (of
#: each worker, default 1 GiB), "keys" (True: `flask --app wsgi key new` works too, default False),
#: "unusual" ({"requests_per_hour": …, "tokens_per_hour": …}: more, by one key or one end user, is
#: warned of).
USAGE = None

#: Tokens of an identity provider in the place of keys, for companies that hand out none:
#: {"issuer": …, "audience": …, "jwks_url": …}. Optional: "algorithms" (default RS256, ES256,
#: EdDSA), "claims" ({"name": "sub", "models": …, "admin": …, "requests_per_minute": …}, the path of
#: a claim each), "admins" (values of the claim "admin" that make one), "models" and "limits" (of
#: callers whose token says nothing of them), "leeway" and "refresh" (seconds).
OIDC = None

#: End users (the field `user`) and keys (by name, of any origin) that get a 403. Taken on reload.
BLOCKED_USERS: list[str] = []
BLOCKED_KEYS: list[str] = []

#: Addresses or networks of the proxies in front ("*": any), whose X-Forwarded-For is believed:
#: by keys that are bound to networks, by /metrics and in the log.
TRUSTED_PROXIES = (
    (os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1").replace(" ", "").split(",")
)

#: Numbers for Prometheus at /metrics: "enabled", and "allowed", the networks that read them without
#: a key (default: this host; others need the key of an administrator). Behind a proxy that sends
#: X-Forwarded-For, its address and that of its client both have to be in one, and its own in
#: TRUSTED_PROXIES.
METRICS = {"enabled": True, "allowed": ["127.0.0.0/8", "::1/128"]}

#: Spans for OpenTelemetry (pip install '.[tracing]'): None, or {"endpoint":
#: "http://collector:4318/v1/traces"}. Optional: "headers" (sent along), "sample" (the part of the
#: traces that begin here, 0 to 1, default 1; a caller's `traceparent` decides for its own),
#: "service" (name, default "embeddings-proxy"), "timeout" (seconds, default 5).
TRACING = None

#: The description of the API at /openapi.json, and the page to try it on at /docs. Neither asks for
#: a key; neither names a model that is yours alone. "enabled": False makes both a 404.
DOCS = {"enabled": True}

#: The numbers of dispatch, where the defaults do not suit: {"late_floor": 5.0, "min_calls": 50}.
#: All of them, with units, ranges and reasons: docs/dispatch.md, "Every number".
DISPATCH: dict[str, float] = {}

#: A webhook for soft limits (the "warn_at" of KEYS): None, or {"url": "https://…", "secret": …}.
#: The bodies are JSON, signed with the secret (16 characters or more) as standardwebhooks.com says.
#: Optional: "timeout" (seconds, default 10). See docs/usage.md, "Soft limits".
NOTIFY = None
