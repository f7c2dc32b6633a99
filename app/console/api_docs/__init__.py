"""The API's description (OpenAPI) and a page to try it (Swagger UI); both need no session.

* `docs`: the routes.
* `openapi`: makes the description from what the app itself uses: Flask's routes, the marshmallow
  schema of requests, the error classes.
* `descriptions`: the texts. `response_schemas`: the schemas of responses.
"""
