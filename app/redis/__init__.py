"""Best-effort use of a Redis or Valkey: call timeout and circuit breaker.

`app.redis.client` asks, `app.redis.circuit_breaker` decides whether to, `app.redis.connect` makes
redis-py's clients from addresses. The library itself is ``redis``; this package is ``app.redis``.
"""
