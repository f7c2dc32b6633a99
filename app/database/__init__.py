"""The ledger's database: connections, tables, migrations. SQLAlchemy is imported nowhere else."""
