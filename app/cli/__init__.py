"""The operator's commands: ``flask --app wsgi …``, ``embeddings-proxy …``.

* `program`: the console script ``embeddings-proxy``, which has all commands, and ``serve``.
* `commands`: the commands ``check-settings``, ``new-key`` and ``check``.
* `check_settings`: builds the app without starting it, and says what is wrong.
* `checks`: what the command ``check`` checks.
* `keys`: the commands ``key``.
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
