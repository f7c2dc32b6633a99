"""A browser's part in tests without one: cookies, the login, the CSRF token of the page."""

import re

from app.factory import create_app
from tests.api.fake import settings
from tests.support.settings import KEY, KEYS, key

ADMIN_KEY = "sk-proxy-administrator"
ADMIN = {**key(ADMIN_KEY, "*"), "admin": True}
HTML = {"Accept": "text/html"}


def app_of(keys=None, **others):
    """Return an app with an administrator's key and those of most tests."""
    keys = {**KEYS, "admin": ADMIN} if keys is None else keys
    return create_app(settings(KEYS=keys, **others), start=False)


class Visitor:
    """A client of an app, which may log in."""

    def __init__(self, app=None, *, secure=False):
        self.client = (app or app_of()).test_client()
        self._base = "https://localhost" if secure else "http://localhost"

    def get(self, path, **headers):
        return self.client.get(path, headers={**HTML, **headers}, base_url=self._base)

    def log_in(self, given=KEY, path="/console/login", **options):
        return self.client.post(
            path, data={"key": given}, headers=HTML, base_url=self._base, **options
        )

    def csrf(self):
        """Return the token that the page has for its forms."""
        page = self.client.get("/console/none", headers=HTML).text
        return re.search(r'name="csrf" value="([^"]+)"', page)[1]

    def post(self, path, csrf="", headers=None, **fields):
        return self.client.post(path, data={"csrf": csrf, **fields}, headers=headers or HTML)

    def is_logged_in(self):
        return self.get("/console/none").status_code == 404
