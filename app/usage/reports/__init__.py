"""Reports of the ledger: usage, budgets, what is spent today, unusual volume.

* `report`: parameters of a report, and its rows for reading or as CSV.
* `reporter`: reports over HTTP, within bounds.
* `budgets`: what is left of the limits of days and months, and when they run out.
* `spent_today`: what all keys have spent today.
* `volume_alert`: looks for keys and end users with unusual volume.
"""
