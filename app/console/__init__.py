"""The pages of the proxy for browsers: the console, the API's description and a page to try it.

Packages, of which only `use` imports another:

* `live`: the pages Now and Request.
* `use`: the page Use. It has the forms of `keys` that block.
* `keys`: the page Keys, and blocks of keys and end users.
* `playground`: texts become vectors, with the session's own key.
* `settings`: the page Settings.
* `login`: begins and ends sessions.
* `api_docs`: ``/openapi.json`` and ``/docs``.

What they share, and what connects them:

* `build`: makes the console with its pages.
* `console`: the routes of the console; finds the session of a request, then calls a page's view.
* `page`: what a page is made of, and how to add one.
* `responses`: makes responses of what a view returns; `templating`: the templates they use.
* `sessions`: signed sessions, valid as long as their key is. `start`: the secret that signs, and
  the one-time code of ``make run``.
* `root`: ``GET /``.
"""
