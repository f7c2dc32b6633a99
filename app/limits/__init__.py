"""Limits of keys and their end users: requests, tokens and dollars a minute, day or month.

A key can have a limit of requests at the same time, too.

* `limiter`: takes the expected usage of a request, and replaces it by the real one at the end.
* `rules`: the limits of a key, by the names of their settings; what a limit counts; the errors and
  headers that follow.
* `periods`: minutes, days and months.
* `pricing`: what tokens cost.
* `counters`: counts usage, in a worker or in a server that all workers share.
* `soft_limits`: warns of limits that are nearly used up.
* `webhook`: sends these warnings.
* `key_labels`: a bounded number of labels of keys, for metrics.
* `leases`: how workers share what providers allow: the quotas of deployments, and slots.
* `redis_evaluation`: evaluates scripts on a server, for `counters` and `leases`.
"""
