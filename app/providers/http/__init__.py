"""HTTP to providers: requests over connections that end at a deadline.

* `transport`: sends a request and returns the answer, or an error of `app.errors`.
* `connection`: writes a request to a connection of a pool, and reads its answer.
* `answers`: parses an answer while its bytes arrive.
* `opening`: opens connections; `sockets`: sockets that keep to a deadline.
"""
