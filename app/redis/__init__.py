"""Best-effort use of a Redis or Valkey: call timeout and circuit breaker.

What holds while the server is away is decided by its users: `app.cache.shared`,
`app.limits.limiter`, `app.dispatch.quotas.leased_quota` and `app.dispatch.queue.leased_slots`.

* `client`: asks a server, while the circuit breaker lets it.
* `calls`: helper threads that make the calls, so that a caller can leave at its timeout.
* `circuit_breaker`: decides whether the server is asked at all.
* `connect`: makes redis-py's clients from addresses.

The library itself is ``redis``; this package is ``app.redis``.
"""
