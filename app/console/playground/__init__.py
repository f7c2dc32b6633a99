"""The page Playground: texts become vectors with the session's own key, and can be looked at.

* `page`: the routes. `form`: reads what was filled in; `choices`: the models and deployments.
* `embedding`: embeds, each side as a request of its own: limits, ledger, metrics and log line.
* `similarity`: cosines, nearest pairs, the map in two dimensions; `figures`: their SVG.
* `results`: what the template shows. `code`: the same request for curl, Python and JavaScript;
  `download`: the vectors as a file.
"""
