"""Drift: whether deployments still embed as they did when reference vectors were recorded.

A provider may replace a model behind the same name and width; its new vectors, in an index of old
ones, make searches wrong without an error. So:

1. ``flask --app wsgi check --record`` embeds the probe texts on every deployment, and keeps their
   vectors, for each vector space, in the ledger's database or in a file.
2. One worker of a host, and one of all hosts where there is a Valkey, embeds them again from time
   to time and compares the vectors.
3. The results are in a file for all workers of the host, and in the Valkey for all hosts. Every
   worker reads them, and records them in its dispatcher (`Dispatcher.set_agreement`).

Without reference vectors nothing is embedded. Whatever fails here (the database, the Valkey, a
provider) is logged, and changes no answer.

* `texts`: the probe texts; `targets`: the deployments that embed them; `embedding`: their vectors.
* `reference`: the reference vectors of a space, and the comparison with them.
* `database`: references in the ledger's database; `file`: references in a file.
* `known_references`: the references as a worker knows them.
* `watch`: the background task; `checker`: makes its checks; `check_log`: their lines in the log.
* `results`: the results of checks, and their file for all workers of a host.
* `hosts`: the results of other hosts; `valkey`: those in a Valkey, and the lease to make checks.
* `build`: makes the watch and the references that the settings need.
"""
