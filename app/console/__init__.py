"""What people look at: the console, the API's description and a page to try it on.

* `console`: the routes of the console; finds the session of a request, then calls a page's view.
  `page`: what a page is made of, and how to add one; `build` lists the pages; `responses` makes
  responses of their answers, by the templates of ``templates/`` (`templating`).
* `sessions`: signed sessions, good as long as their key is; `login`, `login_attempts`: the way in.
* `playground`: texts become vectors, with the session's own key. `settings_page`,
  `settings_values`: what is in force.
* `root`: ``GET /``.
* `docs` serves the API's description and a page to try it. `openapi` makes the description out of
  what the app itself goes by: Flask's routes, the marshmallow schema of requests, the error
  classes. `descriptions` adds what only people need.
"""
