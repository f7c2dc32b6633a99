"""The login and logout of the console.

* `login`: the views, which begin and end the sessions of `app.console.sessions`.
* `attempts`: limits the failed attempts of an address.
"""
