"""The default settings. Copy what you want to change into a file of your own and name that file in
``PROXY_SETTINGS``: each name it defines replaces the one here, whole. Another name in upper case is
a mistake; begin a name of your own with an underscore.

With nothing set but ``ALPHANEURAL_API_KEY`` the proxy serves the embedded model ``wordllama``, and
where ``OPENAI_API_KEY`` is set too, OpenAI's three embedding models. Check a file before using it:
``flask --app wsgi check-settings``. Never write a secret into it that the environment can hold.

The comments are generated from the declarations in ``app/config/``: change those, then run
``python -m app.config.documentation``.
"""

import hashlib
import os

#: The providers, by a name of your choice. A kind may have further settings: docs/providers.md.
#: - "kind" (a kind; must be set): The wire format: see docs/providers.md.
#: - "base_url" (http:// or https:// address; default None): Its address, for kinds that have no
#:   default.
#: - "api_key" (printable ASCII; default None): Its key: read it from the environment or a file.
#: - "timeout" (seconds over 0, up to 3,600; default 60): Maximum time of one call.
#: - "connect_timeout" (seconds over 0, up to 3,600; default 5): Maximum time of connecting.
#: - "max_inputs" (whole number from 1; default what its kind takes): Inputs of one call.
#: - "max_tokens" (whole number from 1; default what its kind takes): Tokens of one call.
#: - "concurrency" (whole number from 1, "auto", `{"auto": [least, most]}`; default 64): Calls at
#:   once, of all workers of a host together (of all hosts, where LIMITS has a url). "auto": as many
#:   as help, found out from 1 to 256, for engines of your own.
#: - "merge" (True or False; default True): Whether requests that wait leave in one call.
#: - "proxy" (http:// or https:// address; default None): A proxy on the way to it.
#: - "ca_bundle" (path of a PEM file; default None): Certificates to trust for it.
#: - "headers" (names and values; default empty): Headers sent with every call.
PROVIDERS = {"local": {"kind": "local"}}

#: The models that clients can request, by name. Every deployment of a model must serve the same
#: vector space.
#: - "deployments" (a list of dictionaries; must be set): Where it is served.
#:   - "provider" (a name in PROVIDERS; must be set): Where it is.
#:   - "model" (a name; must be set): The provider's name of the model.
#:   - "weight" (number from 1e-06 to 1,000,000; default 1): Its share of the calls, against the
#:     others of its tier.
#:   - "tier" (whole number from 0; default 0): 0 is asked first, 1 where no deployment of tier 0
#:     can serve.
#:   - "max_inputs" (whole number from 1; default the provider's): Inputs of one call.
#:   - "max_tokens" (whole number from 1; default the provider's): Tokens of one call.
#:   - "max_item_tokens" (None or whole number from 1; default what is known of the model:
#:     docs/providers.md): Tokens of one input; a longer one is a 400. None: no limit. A number
#:     needs the model's 'tokenizer'.
#:   - "concurrency" (whole number from 1; default the provider's): Calls at once, of all workers of
#:     a host.
#:   - "requests_per_minute" (whole number from 1; default None): Calls a minute, of all workers; of
#:     all hosts with LIMITS['url'].
#:   - "tokens_per_minute" (whole number from 1; default None): Tokens a minute, of all workers; of
#:     all hosts with LIMITS['url'].
#:   - "price_per_million_tokens" (number from 0 to 1,000,000; default 0): Dollars; for budgets and
#:     reports.
#: - "dimensions" (whole number from 1; default None): Values of a vector; each answer is checked
#:   for it.
#: - "matryoshka" (True, False or a list of widths; default False): Whether the first values of a
#:   vector are a vector too, and which widths are allowed.
#: - "pass" (a list of names; default empty): Fields of a request that its providers are sent as
#:   they come.
#: - "hedge" (True or False; default False): Whether a slow call is sent to another deployment, too
#:   (DISPATCH: hedge_factor).
#: - "tokenizer" (a tiktoken encoding or the path of a tokenizer.json; default None): With it the
#:   proxy counts tokens exactly.
#: - "space" (1 to 100 printable ASCII characters, no space, no comma; default derived from all that
#:   changes a vector): The name of the vector space, which clients see and can insist on
#:   (x-proxy-space). Needed where deployments differ in what changes a vector. See
#:   docs/operations.md.
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

#: The keys of callers: a name for the logs, and the SHA-256 of the key. `flask --app wsgi new-key
#: NAME` creates a key.
#: - "sha256" (64 hex digits; must be set): Of the key. Never the key itself.
#: - "models" (a list of names in MODELS; '*': every model; default ['*']): Models that it may use.
#: - "admin" (True or False; default False): Whether it may see the state of providers, metrics and
#:   all of the console, and make and change keys and blocks there.
#: - "requests_per_minute" (whole number from 1; default None): Requests in any 60 seconds.
#: - "tokens_per_minute" (whole number from 1; default None): Tokens in any 60 seconds.
#: - "tokens_per_day" (whole number from 1; default None): Tokens in a calendar day of
#:   LIMITS['timezone'].
#: - "tokens_per_month" (whole number from 1; default None): Tokens in a calendar month.
#: - "dollars_per_month" (number over 0, up to 1,000,000; default None): Dollars in a calendar
#:   month, by the price_per_million_tokens of deployments.
#: - "user_requests_per_minute" (whole number from 1; default None): Requests in any 60 seconds of
#:   each end user (the field `user`) of the key.
#: - "user_tokens_per_minute" (whole number from 1; default None): Tokens in any 60 seconds of each
#:   end user of the key.
#: - "concurrent_requests" (whole number from 1; default None): Requests at the same time, of all
#:   workers together (see LIMITS).
#: - "warn_at" (number over 0, up to 1; default None): Share of each limit of a day or a month at
#:   which operators are warned, once a period: by a log line, a metric and, with NOTIFY, a webhook.
#: - "share" (number from 1e-06 to 1,000,000; default 1): Its weight where calls queue for a
#:   provider: of two keys of one tier, the one with twice the share gets twice the tokens.
#: - "fair_users" (True or False; default False): Whether its end users (the field `user`) divide
#:   its share evenly.
#: - "service_tier" ('priority' or 'default' or 'flex'; default 'default'): The tier of its requests
#:   that ask for none, or for 'auto'.
#: - "service_tiers" (a list of 'priority', 'default', 'flex'; default ['default', 'flex']): Tiers
#:   that its requests may ask for; its own is always among them.
KEYS = {}
if os.environ.get("ALPHANEURAL_API_KEY"):
    KEYS["default"] = {
        "sha256": hashlib.sha256(os.environ["ALPHANEURAL_API_KEY"].encode()).hexdigest(),
        "models": ["*"],
    }

#: Vectors kept for requests with `"caching": true`. None: caching is not configured.
#: - "ttl" (seconds over 0; default 3,600): How long a vector is kept.
#: - "max_bytes" (whole number from 1; default 256 MiB): Of each worker, all overhead included.
#: - "scope" ('shared' or 'key'; default 'shared'): 'key': no key sees what another has cached.
#: - "url" (address of a Redis or Valkey; default None): A Redis or Valkey behind that of the
#:   workers, which all workers and hosts share: "redis://:password@host:6379/0", "rediss://…"
#:   (TLS), "unix:///path", "redis+sentinel://host:26379,host:26379/service/0",
#:   "redis+cluster://host:6379,host:6379".
#: - "namespace" (1 to 64 letters, digits, '.', '_', '-'; default 'embeddings'): Prefix of its keys
#:   in the Redis or Valkey.
#: - "timeout" (seconds over 0, up to 3,600; default 0.05): Maximum wait of a request for it; then
#:   the hit is lost.
CACHE = {"ttl": 3600, "max_bytes": 256 * 2**20, "scope": "shared"}

#: The size of requests, and where the limits of keys and the quotas of deployments are counted.
#: Without url, each worker counts for its share of them, and from 0 after a restart; with a url,
#: counts are exact.
#: - "body_bytes" (whole number from 1; default 32 MiB): Size of a request's body.
#: - "inputs" (whole number from 1; default 8,192): Inputs of a request.
#: - "waiting" (whole number from 1; default 1,000): Requests that may wait for a provider's slot in
#:   a worker.
#: - "url" (address of a Redis or Valkey; default None): A Redis or Valkey (as in CACHE) that counts
#:   for all workers and hosts. It has to keep what it is told ("maxmemory-policy" noeviction or
#:   volatile-*).
#: - "namespace" (1 to 64 letters, digits, '.', '_', '-'; default 'embeddings'): Prefix of its keys
#:   in the Redis or Valkey.
#: - "timeout" (seconds over 0, up to 3,600; default 0.05): Maximum wait of a request for it.
#: - "count_cached_tokens" (True or False; default True): Whether tokens served from the cache
#:   count; money is never counted for them.
#: - "timezone" (a time zone, for instance 'Europe/Berlin'; default 'UTC'): In which the days and
#:   months of limits begin.
#: - "when_away" ('allow' or 'refuse'; default 'allow'): While the url is slow or dead: 'refuse'
#:   refuses keys with a limit of a day or a month. Usage of that time is charged later.
LIMITS = {"body_bytes": 32 * 2**20, "inputs": 8192, "waiting": 1000}

#: Log lines, on the standard output.
#: - "format" ('json' or 'human'; default 'json'): 'json': one object a line, for machines.
#: - "level" (a level of the `logging` module; default 'INFO'): Less than this is not logged.
LOGS = {"format": os.environ.get("LOG_FORMAT", "json"), "level": "INFO"}

#: One row for each request in a database, for reports and bills. None: no ledger. Run `flask --app
#: wsgi usage migrate` once, and after each upgrade. See docs/usage.md.
#: - "url" (address of a database; must be set): "sqlite:////var/lib/proxy/usage.db" for one host,
#:   "postgresql+psycopg://user:password@host/database" for many.
#: - "spool" (path of a directory; default beside the SQLite file, else 'usage-spool'): For rows on
#:   their way; never of two hosts.
#: - "spool_bytes" (whole number from 1; default 1 GiB): Size of the spool of each worker.
#: - "retention_days" (whole number from 1; default 400): Days that rows are kept; None: for ever.
#: - "keys" (True or False; default False): Whether the table of keys is asked too (`key new`).
#: - "unusual" (a dictionary; default nothing is unusual): More than this, by one key or one end
#:   user, is warned of.
#:   - "requests_per_hour" (whole number from 1; default None): Requests in an hour.
#:   - "tokens_per_hour" (whole number from 1; default None): Tokens in an hour.
USAGE = None

#: Tokens of an identity provider, used instead of keys.
#: - "issuer" (an address; must be set): The claim `iss` of a token.
#: - "audience" (a name or a list of names; must be set): One of them is a token's `aud`.
#: - "jwks_url" (https:// address; must be set): Where the provider's public keys are.
#: - "algorithms" (a list; default 'RS256', 'ES256', 'EdDSA'): How tokens may be signed.
#: - "leeway" (number from 0 to 300; default 30): Seconds by which clocks may differ.
#: - "refresh" (number from 1 to 86,400; default 300): Seconds between reads of the public keys.
#: - "claims" ('name' or a setting of KEYS, but 'sha256': path of a claim; default {'name': 'sub'}):
#:   The claims with a caller's name, rights, limits, share and service tiers.
#: - "admins" (a list; default empty): Values of the claim 'admin' that make an administrator.
#: - "models" (as in KEYS; default ['*']): For callers whose token says nothing of models.
#: - "limits" (limits, 'share', 'fair_users', 'service_tier', 'service_tiers' as in KEYS; default
#:   empty): For callers whose token says nothing of them.
OIDC = None

#: End users (the field `user`) that get a 403. Taken on reload; `user block` needs none.
BLOCKED_USERS: list[str] = []

#: Keys (by name, of any origin) that get a 403. Taken on reload; `key block` needs none.
BLOCKED_KEYS: list[str] = []

#: The proxies in front of this one, whose X-Forwarded-For is used: for keys that are bound to
#: networks, for /metrics and in the log.
TRUSTED_PROXIES = (
    (os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1").replace(" ", "").split(",")
)

#: Metrics for Prometheus at /metrics. Behind a proxy that sends X-Forwarded-For, the proxy must be
#: in TRUSTED_PROXIES, and its address and its client's must both be allowed.
#: - "enabled" (True or False; default True): Whether there is /metrics.
#: - "allowed" (a list of networks; default '127.0.0.0/8', '::1/128'): Which read it without a key;
#:   others need the key of an administrator.
METRICS = {"enabled": True, "allowed": ["127.0.0.0/8", "::1/128"]}

#: Spans for OpenTelemetry (pip install '.[tracing]').
#: - "endpoint" (http:// or https:// address; must be set): Of OTLP over HTTP:
#:   "http://collector:4318/v1/traces".
#: - "headers" (names and values; default empty): Headers sent along.
#: - "sample" (number from 0 to 1; default 1): Share of the traces that begin here; a caller's
#:   `traceparent` has its own.
#: - "service" (a name; default 'embeddings-proxy'): The name of this service in spans.
#: - "timeout" (seconds over 0, up to 3,600; default 5): Maximum time of sending spans; a stop waits
#:   as long.
TRACING = None

#: The description of the API at /openapi.json, and a page to try it at /docs. Both need no key, and
#: show only names of public models.
#: - "enabled" (True or False; default True): False makes both a 404.
DOCS = {"enabled": True}

#: Pages for people at /console: what happens, what is used, and a playground. They need a key. See
#: docs/console.md.
#: - "enabled" (True or False; default True): False makes it a 404.
#: - "secret" (16 characters or more; default None): Signs sessions: read it from the environment.
#:   Needed where several hosts are behind one address; without it a restart ends all sessions.
CONSOLE = {"enabled": True}

#: Numbers of dispatch that differ from the defaults: {"late_floor": 5.0}. See docs/dispatch.md.
#: All of them, with ranges and reasons: docs/settings.md.
DISPATCH: dict[str, float] = {}

#: Whether deployments still embed as they did when `flask --app wsgi check --record` kept reference
#: vectors; without those nothing is checked. None: off. See docs/operations.md.
#: - "every" (number from 1 to 2,678,400; default 3,600): Seconds between two checks of a
#:   deployment, in the background.
#: - "min_cosine" (number from 0 to 1; default 0.999): A deployment has drifted where one text's
#:   vector and its reference vector have a lower cosine than this.
#: - "on_drift" ('warn' or 'eject'; default 'warn'): 'eject': one that has drifted is not called,
#:   and a model with no other answers 503 `space_drifted`. 'warn': the log, /metrics and
#:   /v1/providers tell.
#: - "reference" (path of a file; default 'space-references.json'): Where the reference vectors are
#:   without USAGE (else they are in its database). A relative path is beside the settings file.
CHECK = {"every": 3600, "min_cosine": 0.999, "on_drift": "warn"}

#: A webhook for soft limits (the "warn_at" of KEYS), JSON and signed. See docs/usage.md, "Soft
#: limits".
#: - "url" (http:// or https:// address; must be set): Where it is sent to.
#: - "secret" (16 characters or more; must be set): Signs the bodies as standardwebhooks.com says.
#: - "timeout" (seconds over 0, up to 3,600; default 10): Maximum time of connecting, and of each
#:   read.
NOTIFY = None
