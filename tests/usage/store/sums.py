"""Reads numbers of the ledger past its code."""


def count(database, statement="SELECT count(*) FROM usage_requests"):
    return database.run(lambda c: c.exec_driver_sql(statement).scalar_one())


def sums(database, rollup="usage_hours"):
    query = f"SELECT hour, requests, cost, ms FROM {rollup} ORDER BY hour, requests"
    return [tuple(found) for found in database.run(lambda c: c.exec_driver_sql(query).all())]
