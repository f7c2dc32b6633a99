"""The ledger of a worker: rows of requests on their way to the database, and the files they are in.

* `ledger`: takes the row of each request, and writes it to the files outside the request's path.
* `journal`: files in memory with the rows that are not in the spool yet.
* `spool`: files with the rows that are not in the database yet.
* `segment`: one of these files, locked by the process that writes or ships it.
* `shipper`: inserts the segments of the spool into the database.
"""
