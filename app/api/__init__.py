"""HTTP and JSON: routes, request bodies, responses. Later steps of a request use no Flask.

* `flask_app`: the Flask app, and what it does before and after each request: its id, its record,
  observers, errors as responses.
* `views`: its routes for embeddings, models, providers and health; `usage`: that for usage.
* `client`: the address of the client, behind proxies, and whether it is still there.
* `json_body`: reads a body as JSON; `schemas`: checks it.
* `embedder`: serves a request of a known caller, until there are vectors; `answers`: the response.
"""
