"""The ledger of a worker: rows of requests on their way to the database, and the files they are in.

* `ledger`: puts the row of each request into the journal; its thread writes rows to the spool.
* `journal`: files in memory with the rows that are not in the spool yet.
* `spool`: files with the rows that are not in the database yet.
* `segment`: a file of the journal or the spool, locked by the process that writes or ships it.
* `shipper`: inserts the segments of the spool into the database.
"""
