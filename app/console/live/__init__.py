"""The pages Now and Request: what happens in all workers, and what happened to a request.

* `now_page`: the routes of the page Now.
* `values`: its values, as the server and a script write them.
* `request_page`: the routes of the page Request.
* `waterfall`: the steps of a request, on one scale of time.

`app.observability.live` observes requests and asks all workers for what the pages show.
"""
