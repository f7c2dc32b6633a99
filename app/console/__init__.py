"""What people look at: the API's description and a page to try it on.

`openapi` makes the description out of what the app itself goes by: Flask's routes, the marshmallow
schema of requests, the error classes. `descriptions` adds what only people need. `pages` serves
both.
"""
