"""An OpenAI-compatible embeddings proxy. What happens to ``POST /v1/embeddings``, in order:

1. Edge: gunicorn's worker (`app.server`) reads the request; `app.api.flask_app` gives it an id and
   records its start and its client (`app.exchange`). The route is in `app.api.views`.
2. Authentication (`app.auth.authenticator`): bearer key or token → `Caller`. `app.auth.blocklist`
   has the blocked ones.
3. Validation (`app.api.json_body`, `app.api.embedder`, `app.api.schemas`): JSON →
   `EmbeddingRequest`, checked by marshmallow, here and nowhere else. Its deadline is the start plus
   its ``timeout``.
4. Limits (`app.limits.limiter`): the expected usage is reserved in the key's rates, quotas and
   budget; at the end the real usage replaces it.
5. Pipeline (`app.pipeline`): runs steps 6 to 8: look up, claim, plan, dispatch, verify, store, put
   back in order.
6. Cache (`app.cache.memory`; with ``CACHE["url"]`` `app.cache.tiered`, in front of a server that
   all workers share): cached items need no provider; for an item that another request is embedding,
   the request waits (`app.cache.singleflight`, `app.cache.fetch`).
7. Dispatch (`app.dispatch`, which names its packages): the request is split into parts (`job`), a
   deployment is chosen for each (`deployments`), parts that wait for the same provider leave in an
   order that is fair to all keys and share calls (`queue`), each call runs in a thread of its own
   (`sending`); failed calls are retried (`job`), all within the caller's deadline
   (`app.concurrency.deadline`). Workers share the quotas and slots of providers by
   `app.limits.leases`.
8. Provider (`app.providers`): one file for each wire format builds the call and reads the answer,
   whose vectors `app.providers.bodies` checks; `app.providers.http.transport` does the HTTP.
9. Answer (`app.api.answers`): float32 bytes (`app.vectors`) → base64 or floats.
10. Observers (`app.observability`, `app.usage.ledger`), at the end of the request: a log line,
    metrics, spans, what the console shows live, and a row in the ledger, which a thread of its own
    writes. Some also observe the start of a request, and its calls (`app.dispatch.events`).

The docstrings of packages say what their files do.

Beside requests, `app.dispatch.drift` compares deployments with recorded reference vectors.
`app.console` has the pages for browsers (`app.console.page` says how one is made).
`app.cli` has the commands for operators.

Threads: a request has one of gunicorn's (a greenlet under gevent). Each call to a provider has its
own, so that a request can end at its deadline while the call still runs. Long texts are counted in
native threads (`app.tokens.bounded`). Background work uses `app.concurrency.periodic`.

Values passed between packages: `app.domain`. Errors that a client can see: `app.errors`. Settings:
`app.settings`, checked by `app.config`. `app.factory` makes all objects and connects them;
`app.factory.services` those of the ledger, the table of keys and the identity provider.
`app.tokens` counts tokens, `app.redis` asks a Redis or Valkey and does without one that is slow or
dead, and `app.database` has the tables of a database.
"""

#: The version of the package. setup.cfg reads it here, without running this file.
__version__ = "0.2.0"
