"""The ledger's database, which also has keys, blocks, the audit log and references of spaces.

* `engine`: connections; translates errors of SQLAlchemy, which is imported only where a database is
  configured. `tables`, and their `migrations`; `columns`: those of the ledger.
* `versioned_table`: tables that workers read again after a change. `audit`: the audit log;
  `references`: the vectors that drift is measured by.
"""
