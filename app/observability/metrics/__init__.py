"""Numbers for Prometheus: counted by each worker, read from any of them.

* `catalog`: every metric there is, with its labels and buckets.
* `files`: where a worker's numbers live: files that all workers of a server read.
* `meter`: what turns exchanges, and events of dispatch, into numbers. The only hot part.
* `zeros`: what is there from the start, so that a first event is seen to rise.
* `gauges`: what is looked up now and then instead of being counted: states, sizes, lags.
* `page`: ``GET /metrics``.
* `directory`: what gunicorn's master does: make the directory, bury dead workers.

The files are those of prometheus_client's multiprocess mode, and read by it. They are written here,
because its own values cost a request some 30 µs where these cost 5: see `files`. What is counted is
in the file at once, so a worker that is killed takes nothing along; only what `gauges` looks up can
be two seconds old.
"""
