"""Metrics for Prometheus: each worker counts, and any worker serves the sums of all.

* `catalog`: every metric there is, with its labels and buckets.
* `files`: the files with a worker's numbers, which all workers of a server read.
* `meter`: counts requests and events of dispatch. It runs in each request.
* `zeros`: creates counters at zero, so that Prometheus sees the first event as an increase.
* `gauges`: reads states, sizes and lags every two seconds and at each scrape.
* `page`: ``GET /metrics``.
* `directory`: creates the directory and removes files of dead workers, in gunicorn's master.

The files have the format of prometheus_client's multiprocess mode, which reads them. `files` writes
them, at a cost of 5 µs a request instead of the library's 30. A count is in the file at once, so a
worker that is killed loses none; only the values of `gauges` can be two seconds old.
"""
