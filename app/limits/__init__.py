"""Limits of keys and their end users: requests, tokens and dollars a minute, day or month.

* `limiter`: takes the expected usage of a request, and settles it. `rules`: the limits of a key;
  `periods`: minutes, days and months; `pricing`: what tokens cost.
* `windows`: the protocol of counters. They are in a worker (`memory`), or in a server that all
  workers share (`redis`, by the scripts of `redis_scripts`; `redis_evaluation` runs scripts).
* `soft_limits`: warns of limits that are nearly used up; `webhook` sends the warnings.
* `key_labels`: a bounded number of labels of keys, for metrics.

Workers also share the quotas and slots of providers, by leases, which `leases` explains: `build`,
`server_leases`, `lease_script`, `slot_lease_script`, `host_store`, `slot_table`, `worker_names`.
"""
