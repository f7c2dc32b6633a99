"""A session of the console without a browser: its cookie, for a plain client."""

import urllib.parse

from tests.support.client import Client


def session_cookie(client: Client) -> str:
    """Log in with the client's key, and return the header ``Cookie`` of the session."""
    form = urllib.parse.urlencode({"key": client.key}).encode()
    headers = {"Content_Type": "application/x-www-form-urlencoded", "Authorization": None}
    answer = client.request("POST", "/console/login", form, **headers)
    assert answer.status == 303, answer.text
    return answer.headers["set-cookie"].partition(";")[0]
