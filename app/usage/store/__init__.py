"""The rows of the ledger in the database: how they are inserted, summed up and deleted.

* `store`: the queries.
* `queries`: builds the statement of a report.
* `rollups`: sums by the hour, which reports read in the place of the rows.
"""
