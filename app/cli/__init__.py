"""The operator's commands: ``flask --app wsgi …``, ``embeddings-proxy …``.

* `program`: the console script ``embeddings-proxy``, which has all commands, and ``serve``.
* `commands`: the commands ``check-settings``, ``new-key`` and ``check``.
* `check_settings`: builds the app without starting it, and says what is wrong.
* `check`: calls every deployment, and compares their vectors; `check_spaces`: compares those of one
  vector space; `compare`: whether two models serve one.
* `check_services`: asks every service that is configured.
* `keys`: the commands ``key``; `key_options`: parses when a key expires.
* `blocks`: the commands ``block``, ``unblock`` and ``blocked``, of keys and of end users.
* `limits`: the commands ``limits``; `reconcile`: compares counters with the ledger.
* `cache`: the commands ``cache``.
* `usage`: the commands ``usage``.
* `audit`: the command ``audit``.
* `simulate`: the command ``simulate``; `simulation`: what it runs.
* `development`: ``make run``.
* `common`: loads the settings, opens the database, and ends with an error.
* `parameters`: types of parameters; `tables`: formats tables and lists.
"""
