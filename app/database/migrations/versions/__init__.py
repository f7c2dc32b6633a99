"""One migration in each file, in order, written by hand. A released one is never changed.

* `v0001_usage_and_keys`: the tables of usage and of keys.
* `v0002_hours`: the rollups by hour, without and with end users.
* `v0003_audit_log`: the audit log.
* `v0004_space`: the vector space of a row.
* `v0005_space_references`: the table of reference vectors.
* `v0006_service_tier`: the service tier of a row, and the rollup by hour with it.
* `v0007_blocks`: the table of blocked keys and end users.
"""
