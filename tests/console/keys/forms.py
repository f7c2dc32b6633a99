"""The forms of the page Keys, as a browser fills them in, and what the page answers."""

import html
import re
import time

from werkzeug.datastructures import MultiDict

NEW = {"name": "team", "every_model": "yes", "expires": "90d", "service_tiers": ["default", "flex"]}


def plaintext(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    (found,) = re.findall(r"sk-[\w-]{40,}", answer.text)
    return found


def active(app, name="team"):
    return [e for e in app.keys.read()[1] if e.name == name and e.state(time.time()) == "active"]


def form_of(page):
    """Return the fields of the form of rights, as a browser would send them."""
    text = page.text.partition('keys/edit"')[2]
    text = text.partition("</form>")[0]
    fields = MultiDict()
    for tag in re.findall(r"<input [^>]*>", text):
        values = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if values.get("type") != "checkbox" or " checked" in tag:
            fields.add(values["name"], html.unescape(values.get("value", "on")))
    for name, inner in re.findall(r'<select [^>]*name="(\w+)"[^>]*>(.*?)</select>', text, re.S):
        options = re.findall(r"<option([^>]*)>([^<]*)", inner)
        chosen = next((o for o in options if " selected" in o[0]), options[0])
        value = re.search(r'value="([^"]*)"', chosen[0])
        fields.add(name, value[1] if value else chosen[1])
    (networks,) = re.findall(r"<textarea[^>]*>([^<]*)", text)
    fields.add("networks", networks)
    return {name: values if len(values) > 1 else values[0] for name, values in fields.lists()}
