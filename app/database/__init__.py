"""The ledger's database, which also has keys, blocks, the audit log and references of spaces.

* `engine`: connections; translates errors of SQLAlchemy, which is imported only where a database is
  configured.
* `tables`: the tables; `columns`: the columns of the ledger.
* `migrations`: bring the tables of a database up to date.
* `versioned_table`: tables that workers read again after a change.
* `audit`: the audit log.
* `space_references`: the vectors that drift is measured by.
"""
