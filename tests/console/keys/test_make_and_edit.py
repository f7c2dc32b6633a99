"""Keys are made and edited as the forms say, and wrong forms change nothing."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from app.auth.key_entry import KeyEntry
from app.database.audit import events
from tests.console.keys.forms import NEW, active, form_of, plaintext


def test_made_key_is_shown_once_and_works(app, admin):
    limits = {"requests_per_minute": "1,000", "dollars_per_month": "2.5", "warn_at": "0.8"}
    more = {"networks": "127.0.0.0/8, ::1/128\n10.0.0.0/8", "share": "2", "service_tier": "flex"}
    made = admin.post("keys/new", **{**NEW, **limits, **more, "fair_users": "yes"})
    key = plaintext(made)
    assert app.status_of(key)[0] == 200
    (entry,) = active(app)
    assert dict(entry.limits) == {
        "requests_per_minute": 1000,
        "dollars_per_month": 2.5,
        "warn_at": 0.8,
        "share": 2,
        "fair_users": True,
        "service_tier": "flex",
    }
    assert entry.networks == ("127.0.0.0/8", "::1/128", "10.0.0.0/8")
    assert 89 * 86_400 < entry.expires - time.time() < 91 * 86_400
    assert key not in admin.get("keys").text + admin.get("keys/key", name="team").text
    (event,) = app.database.run(lambda c: events(c, 0, 10**15))
    assert (event["actor"], event["action"]) == ("key:root (127.0.0.1)", "key.new")


def test_key_of_some_models_only(app, admin):
    fields = {**NEW, "every_model": "", "models": ["steady", "org/model"], "expires": "never"}
    key = plaintext(admin.post("keys/new", **fields))
    assert app.status_of(key) == (403, "model_not_allowed")
    assert app.status_of(key, model="steady")[0] == 200
    assert active(app)[0].expires is None


def test_invalid_new_key_is_refused_with_the_form_as_it_was(app, admin):
    for fields, message in (
        ({"name": ""}, "must not be empty"),
        ({"name": "tests"}, "in KEYS: choose another name"),
        ({"name": "oidc:x"}, "must not begin with"),
        ({"every_model": ""}, "Choose a model"),
        ({"every_model": "", "models": ["nope"]}, "No model &#39;nope&#39;"),
        ({"requests_per_minute": "many"}, "must be a whole number"),
        ({"warn_at": "7"}, "warn_at"),
        ({"share": "0"}, "share"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"networks": "10.0.0.1/8"}, "has host bits set"),
        ({"expires": "keep"}, "Say when the key expires"),
        ({"expires": "date", "expires_on": "2020-01-01"}, "That date is over"),
        ({"expires": "date", "expires_on": "soon"}, "is no date"),
        ({"expires": "9y"}, "is no date"),
        ({"expires_on": "2099-01-01"}, "A date is given and another end, too"),
        # A decimal comma: without it, the limit would be a hundred times as high.
        ({"dollars_per_month": "10,50"}, "write a point before decimals"),
        ({"share": "1,5"}, "write a point before decimals"),
        ({"models": ["steady"]}, "choose one of both"),  # and every_model, as the form begins
    ):
        answer = admin.post("keys/new", **{**NEW, "tokens_per_day": "77", **fields})
        assert (answer.status_code, message in answer.text) == (400, True), (fields, answer.text)
        assert 'value="77"' in answer.text
    assert app.keys.read()[1] == []
    plaintext(admin.post("keys/new", **NEW))
    assert "there is a key" in admin.post("keys/new", **NEW).text.lower()


def test_name_of_a_new_key_is_bounded(app, admin):
    """So that it fits into the database's index, an address, and the name of a block."""
    answer = admin.post("keys/new", **{**NEW, "name": "n" * 257})
    assert (answer.status_code, "256 characters" in answer.text) == (400, True)
    plaintext(admin.post("keys/new", **{**NEW, "name": "n" * 256}))
    assert admin.post("keys/block", kind="key", name="n" * 256, duration="").status_code == 303


def test_edit_changes_what_the_form_says_and_nothing_else(app, admin):
    entry = KeyEntry(
        "team",
        models=("steady",),
        limits=(("tokens_per_day", 70), ("share", 1.5), ("service_tiers", ["flex"])),
        networks=("10.0.0.0/8",),
        expires=int(time.time()) + 86_400,
    )
    app.keys.new(entry)
    (before,) = active(app)
    fields = form_of(admin.get("keys/key", name="team"))
    same = admin.post("keys/edit", **fields)
    assert "No change." in admin.follow(same).text
    assert active(app) == [before]
    changed = {**fields, "tokens_per_day": "", "requests_per_minute": "5", "networks": ""}
    done = admin.post("keys/edit", **changed)
    assert "The key team is changed: limits, networks." in admin.follow(done).text
    (after,) = active(app)
    assert dict(after.limits) == {
        "requests_per_minute": 5,
        "share": 1.5,
        "service_tiers": ["flex"],
    }
    assert replace(after, limits=before.limits, networks=before.networks) == before
    fields = form_of(admin.get("keys/key", name="team"))
    admin.post("keys/edit", **{**fields, "expires_on": "2099-01-31"})  # with "As it is" chosen
    (dated,) = active(app)
    assert datetime.fromtimestamp(dated.expires, UTC).isoformat() == "2099-01-31T23:59:59+00:00"
    app.keys.edit("team", lambda entry: replace(entry, expires=after.expires))
    fields["seen"] = "0" * 16
    # The form of before the change would undo it.
    stale = admin.post("keys/edit", **fields)
    assert (stale.status_code, "changed meanwhile" in stale.text) == (400, True)
    assert active(app) == [after]


def test_invalid_edit_keeps_the_form_and_the_key(app, admin):
    app.keys.new(KeyEntry("team"))
    fields = form_of(admin.get("keys/key", name="team"))
    answer = admin.post("keys/edit", **{**fields, "tokens_per_day": "x1"})
    assert (answer.status_code, 'value="x1"' in answer.text) == (400, True)
    assert active(app)[0].limits == ()
    assert admin.get("keys/key", name="unknown").status_code == 404
    assert admin.post("keys/edit", **{**fields, "name": "unknown"}).status_code == 404


def test_edit_refuses_a_key_with_a_limit_that_it_does_not_know(app, admin):
    """A newer version wrote it. The form would remove it, and the key would be valid without it."""
    app.keys.new(KeyEntry("team", limits=(("unknowns_per_day", 5), ("tokens_per_day", 7))))
    fields = form_of(admin.get("keys/key", name="team"))
    answer = admin.post("keys/edit", **{**fields, "tokens_per_day": "8"})
    assert (answer.status_code, "unknowns_per_day" in answer.text) == (400, True)
    assert dict(active(app)[0].limits) == {"unknowns_per_day": 5, "tokens_per_day": 7}
