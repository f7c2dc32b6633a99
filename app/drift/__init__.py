"""Drift: whether deployments still embed as they did when reference vectors were recorded.

A provider may replace a model behind the same name and width; its new vectors, in an index of old
ones, make searches wrong without an error. So:

1. ``flask --app wsgi check --record`` embeds the probe texts (`texts`) on every deployment, and
   keeps their vectors (`reference`), for each vector space, in the ledger's database (`database`)
   or in a file (`file`).
2. One worker of a host, and one of all hosts where there is a Valkey (`hosts`, `valkey`), embeds
   them again from time to time (`watch`, `checker`, `embedding`) and compares the vectors.
3. The results (`results`) are in a file for all workers of the host, and in the Valkey for all
   hosts. Every worker reads them, and tells its dispatcher (`Dispatcher.set_agreement`).

Without reference vectors nothing is embedded. Whatever fails here (the database, the Valkey, a
provider) is logged, and changes no answer.
"""
