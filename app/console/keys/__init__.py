"""The page Keys: keys of the database, and blocks of keys and end users.

* `page`: the routes.
* `form`: the form of a key's rights.
* `key_views`: keys and their history, as the page shows them.
* `blocking`: blocks, and the forms that change them; the page Use has these forms, too.
* `changes`: who made a change, and errors of the database as answers.
"""
