"""The pages of the proxy for browsers: the console, the API's description and a page to try it.

* `console`: the routes of the console; finds the session of a request, then calls a page's view.
  `page`: what a page is made of, and how to add one; `build` lists the pages; `responses` makes
  responses of their answers, by the templates of ``templates/`` (`templating`).
* `sessions`: signed sessions, valid as long as their key is; `login` begins and ends them;
  `login_attempts` limits the attempts. `start`: the secret that signs, and the one-time code.
* `use_page`: usage; `use_query`: the question in its URL; `use_figures`: the figures, of reports;
  `use_columns`: the table's columns; `bars`: bars over time (SVG); `without_ledger`: the page where
  there is no ledger. `keys_page`: keys of the database; `key_form`, `key_views`. `blocking` blocks
  keys and end users on both pages; `changes`: what pages that change something share.
* `playground`: texts become vectors, with the session's own key.
* `settings_page`: the settings in force, as `settings_values` reads them.
* `root`: ``GET /``.
* `docs` serves the API's description and a page to try it. `openapi` makes the description from
  what the app itself uses: Flask's routes, the marshmallow schema of requests, the error classes.
  `descriptions` adds the texts, `response_schemas` the schemas of responses.
"""
