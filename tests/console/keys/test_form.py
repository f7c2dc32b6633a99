"""The form of a key: what it shows is what it saves."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from app.auth.key_entry import KeyEntry
from app.config.sections.declaration import MAX_PROPORTION, MIN_PROPORTION
from app.config.sections.keys import KEY_LIMITS
from app.console.keys.form import LIMIT_TITLES, KeyForm


@given(
    dollars=st.floats(1e-9, 1e6),
    share=st.floats(MIN_PROPORTION, MAX_PROPORTION),
    tokens=st.integers(1, 10**18),
    models=st.sampled_from([("*",), ("*", "steady"), ("steady",)]),
    networks=st.sampled_from([(), ("*",), ("10.0.0.0/8", "::1/128")]),
)
def test_form_saves_what_it_shows(dollars, share, tokens, models, networks):
    limits = (("tokens_per_day", tokens), ("dollars_per_month", dollars), ("share", share))
    entry = KeyEntry("team", models=models, limits=limits, networks=networks)
    rights = KeyForm.of(entry).rights(["steady"])
    assert replace(entry, **rights).caller() == entry.caller()
    assert (dict(rights["limits"]), rights["networks"]) == (dict(limits), networks)


def test_form_has_every_limit_of_a_key():
    assert tuple(LIMIT_TITLES) == KEY_LIMITS
    entry = KeyEntry("x", limits=tuple((name, 0.5) for name in KEY_LIMITS))
    assert set(KeyForm.of(entry).limits.values()) == {"0.5"}
