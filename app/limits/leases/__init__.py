"""Leases by which workers share the quotas of deployments and the slots of providers.

What a worker asks for, and what it does with its leases, is in `app.dispatch.quotas.leased_quota`
and `app.dispatch.queue.leased_slots`.

* `worker_leases`: the leases of a worker; a background task asks for them.
* `server_leases`: asks a Redis or Valkey, which leases to all workers and hosts.
* `quota_lease_script`: the script by which the server leases a quota.
* `slot_lease_script`: the script by which the server leases slots.
* `host_store`: leases slots to the workers of one host, where there is no server.
* `slot_table`: the rules by which `host_store` leases slots.
* `worker_names`: names workers, and finds by its name whether a worker of this host has ended.
"""
