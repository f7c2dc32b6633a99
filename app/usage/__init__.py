"""The usage ledger: a row for each request for embeddings, reports of them, and the audit log.

* `ledger`: takes the row of each request, and keeps it until it is in the database.
* `record`: makes the row of a request.
* `store`: the queries that insert rows, sum them up and delete them.
* `reports`: reports of the ledger: usage, budgets, what is spent today, unusual volume.
* `audit_settings`: records changes of settings in the audit log.
* `audit_digests`: digests of the settings, by which it finds what has changed.
"""
