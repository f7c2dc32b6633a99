"""The usage ledger: a row for each request for embeddings, reports of them, and the audit log.

* `ledger`: takes the row of each request, which `record` makes. Until rows are in the database they
  are in files: in the `journal`, then in the `spool`, whose files are `segment`s; `shipper` inserts
  those into the database.
* `store`: the queries; `queries` builds those of reports, `rollups` has sums by the hour.
* `report`: parameters and formats of a report; `reporter`: reports over HTTP, within bounds.
* `budgets`: when the limits of days and months run out; `spent_today`: what all keys have spent.
* `volume_alert`: looks for unusual volume. `audit_settings`: records changes of settings, by
  `audit_digests`.
"""
