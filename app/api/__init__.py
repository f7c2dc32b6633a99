"""HTTP and JSON: routes, request bodies, responses. Later steps of a request use no Flask.

* `proxy`: the Flask app; `views`: its routes for embeddings, models, providers and health; `usage`:
  that for usage.
* `hooks`: before and after each request: its id, its record, observers, errors as responses.
* `client_address`: the address of the client, behind proxies; `client_connection`: whether it is
  still there.
* `json_body`: reads a body as JSON; `schemas`: checks it; `request_fields`: its fields.
* `embedder`: serves a request of a known caller, until there are vectors; `answers`: the response.
"""
