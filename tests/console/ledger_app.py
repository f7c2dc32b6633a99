"""An app whose console has a ledger and keys in its database, without threads and sockets."""

import re
import time

from app.auth.block_table import BlockTable
from app.auth.key_table import KeyTable
from app.factory import create_app
from app.usage.store.store import Store
from tests.api.fake import ask, settings
from tests.support.settings import KEYS, key
from tests.usage.conftest import row

ADMIN_KEY = "sk-proxy-administrator"
XSS = "<img src=x onerror=alert(1)>'\""


class LedgerApp:
    """The app and its database; `refresh` takes over keys and blocks, as workers do every 2 s."""

    def __init__(self, database, spool, keys=(), usage=(), **others):
        self.store, self.keys = Store(database), KeyTable(database, actor="os:tests")
        self.blocks = BlockTable(database, actor="os:tests")
        self.database = database
        all_keys = {**KEYS, "root": {**key(ADMIN_KEY, "*"), "admin": True}, **dict(keys)}
        url = database.engine.url.render_as_string(hide_password=False)
        ledger = {"url": url, "spool": str(spool), "keys": True, **dict(usage)}
        self.app = create_app(settings(KEYS=all_keys, USAGE=ledger, **others), start=False)
        self.services = self.app.extensions["services"]
        self.refresh()

    def refresh(self):
        for refresh in (self.services.database_keys, self.services.blocklist_refresh):
            if refresh is not None:
                refresh.refresh()

    def visitor(self, secret=ADMIN_KEY):
        """Return a browser that has logged in."""
        return Visitor(self.app, secret)

    def status_of(self, secret, **fields):
        """Return the status and the error code of a request with a key."""
        self.refresh()
        headers = {"Authorization": f"Bearer {secret}"}
        answer = ask(self.app.test_client(), headers=headers, **fields)
        return answer.status_code, (answer.json.get("error") or {}).get("code")


class Visitor:
    """A browser's part: the cookies, and the CSRF token of the last page."""

    def __init__(self, app, secret):
        self._client = app.test_client()
        answer = self._client.post("/console/login", data={"key": secret})
        assert answer.status_code == 303, answer.text

    def get(self, path, **arguments):
        headers = {"Accept": "text/html"}
        return self._client.get(f"/console/{path}", query_string=arguments or None, headers=headers)

    def csrf(self):
        return re.search(r'name="csrf" value="([^"]+)"', self.get("none").text)[1]

    def post(self, path, csrf=None, **fields):
        """Send a form, with the right CSRF token unless one is given."""
        data = {"csrf": self.csrf() if csrf is None else csrf, **fields}
        return self._client.post(f"/console/{path}", data=data, headers={"Accept": "text/html"})

    def follow(self, answer):
        """Return the page that a redirect leads to."""
        assert answer.status_code == 303, answer.text
        return self._client.get(answer.headers["Location"].removeprefix("../").replace("../", "/"))


def used(app, *groups, ago_ms=60_000):
    """Insert requests: (number, values of the row)."""
    at = int(time.time() * 1000) - ago_ms
    numbers = iter(range(10**6))
    for number, values in groups:
        writer = f"w{next(numbers)}"
        app.store.insert(
            [row(n, **{"time": at, "writer": writer, **values}) for n in range(number)]
        )


def table(page, heading="groups"):
    """Return the cells of a table's body, by the id of its heading."""
    part = page.text.partition(f'id="{heading}"')[2].partition("<tbody>")[2]
    rows = part.partition("</tbody>")[0].split("<tr>")[1:]
    return [
        [text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r, re.S)] for r in rows
    ]


def text_of(markup):
    """Return the text of markup, as a browser shows it."""
    text = re.sub(r"<[^>]+>", " ", markup).replace("&lt;", "<").replace("&gt;", ">")
    return " ".join(text.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&").split())
