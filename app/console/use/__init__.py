"""The page Use: who used what over time, what is left of budgets, unusual volume, and blocks.

* `page`: the routes. `without_ledger`: the page where there is no ledger.
* `query`: what the query string asks for.
* `figures`: totals, groups and bars, of reports.
* `columns`: the columns of the table.
* `bars`: bars over time, as SVG.

`app.console.keys.blocking` has the forms that block keys and end users.
"""
