"""An OpenAI-compatible embeddings proxy. What happens to ``POST /v1/embeddings``, in order:

1. Edge: gunicorn's worker (`app.server`) reads the request; `app.api.hooks` gives it an id and
   starts its clock (`app.exchange`); `app.api.views` is the route.
2. Who (`app.auth.authenticator`): bearer key or token → `Caller`.
3. What (`app.api.json_body`, `app.api.schemas`): JSON → `EmbeddingRequest`, checked by marshmallow,
   here and nowhere else.
4. Limits (`app.limits.limiter`): what the request is expected to use is taken from the key's rates,
   quotas and budget, and settled at the end by what it used.
5. Pipeline (`app.pipeline`): the story of the rest in one screen: look up, claim, plan, dispatch,
   verify, store, put back in order.
6. Cache (`app.cache.tiered`): items that are known leave the request here; an item that another
   request has embedded just now is waited for (`app.cache.singleflight`).
7. Dispatch (`app.dispatch`, which names its files): the request is split into parts (`job`), a
   deployment is chosen for each (`pool`), parts that wait for the same provider leave in one call
   (`batching`), each call in a thread of its own (`sender`); failures are retried elsewhere
   (`retry`), all inside the caller's deadline (`app.concurrency.deadline`).
8. Provider (`app.providers`): one file a wire format builds the call and reads the answer;
   `app.providers.http.transport` does the HTTP.
9. Vectors (`app.vectors`): float32 bytes → base64 or floats, in `app.api.answers`.
10. After (`app.observability`, `app.usage.ledger`): a log line, metrics, spans, and a row in the
    ledger, which a thread of its own writes.

Beside requests, `app.drift` compares deployments with recorded reference vectors.

Threads: a request has one of gunicorn's (a greenlet under gevent); each call to a provider has its
own, so that a caller can leave at its deadline; background work is `app.concurrency.periodic`.
Values that travel: `app.domain`. What can go wrong: `app.errors`. What can be set: `app.settings`,
checked by `app.config`. The parts are put together in `app.factory`, and nowhere else.
"""

#: The version of the package. setup.cfg reads it here, without running this file.
__version__ = "0.2.0"
