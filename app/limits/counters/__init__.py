"""Counters of usage: how much of a limit is used in the minute, the day or the month.

* `windows`: the protocol of counters, what is taken from them, and the count of a window.
* `memory`: counts in a worker, which has a share of each limit.
* `redis`: counts in a Redis or Valkey, for all workers and hosts.
* `redis_scripts`: the scripts by which the server counts.
"""
