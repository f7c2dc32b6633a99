"""What the console shows live: figures of the last hour, and what happened to each request.

* `observer`: counts each request and keeps a record of it; asks all workers.
* `figures`: counts requests and calls of this worker, for the page Now; `ring`: their sums by time;
  `latencies`: the histogram for percentiles.
* `recent_requests`: the last requests of this worker; `steps`: what happened to a request, in
  order; `lists`: the newest, failed and slowest requests.
* `workers`: asks all workers of this server, over Unix sockets.
* `counted`: what a worker has counted, and the sum over workers; `summary`: what all workers have
  counted, as one answer; `deployments`: the states of deployments as all workers see them.
* `history`: what ended workers leave behind, so that a reload loses nothing.
* `reloads`: when the settings were reloaded.

On a request's way are `observer` and `figures` only; docs/performance.md has what they cost. All is
bounded: 1.5 MB for the sums, 1,000 requests in 5 MiB, 100 without a valid key, and what is pending:
100 requests, and 100 calls.
"""
