"""The rows of the ledger in the database: how they are inserted, summed up and deleted.

* `store`: inserts rows, sums them up, deletes old ones.
* `queries`: builds the SQL statement of a report.
* `rollups`: sums by the hour, which reports read in the place of the rows.
"""
