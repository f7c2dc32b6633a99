"""Best-effort use of a Redis or Valkey: call timeout and circuit breaker.

`app.redis.client` asks a server, by the helper threads of `app.redis.calls`, while
`app.redis.circuit_breaker` lets it; `app.redis.connect` makes redis-py's clients from addresses.
The library itself is ``redis``; this package is ``app.redis``.
"""
