"""The same texts on two models, or on two deployments."""

import re

from app.errors import UpstreamFailed
from tests.console.playground.player import POOR_KEY, Player, alert_of
from tests.console.visitor import ADMIN_KEY


def test_one_side_may_fail(app, provider):
    page = Player(app, POOR_KEY).embed(other="steady")
    assert page.status_code == 200
    assert "steady" in alert_of(page)
    assert len(provider.calls) == 1


def test_two_models_of_one_width_have_cosines_between_them(player, log):
    page = player.embed(other="steady")
    assert "lowest <strong>1.000000</strong>" in page.text  # the fake embeds alike
    assert "two vector spaces" in page.text
    assert [model for _, model, _, _ in log.embeddings] == ["embed", "steady"]


def test_models_of_other_widths_have_no_cosines_between_them(player, provider):
    page = player.embed(other="org/model", model="embed")
    assert "lowest <strong>" in page.text
    provider_embed = provider.embed

    def embed(call, deadline):
        from msgspec.structs import replace

        return provider_embed(replace(call, width=call.width or 5), deadline)

    provider.embed = embed
    page = player.embed(other="org/model", model="embed")
    assert "have no cosine: they are 8 and 5 values wide" in page.text
    assert "The cosines of all pairs correlate" in page.text


def test_administrator_compares_two_deployments(app, provider, log):
    player = Player(app, ADMIN_KEY)
    page = player.get("/console/playground").text
    values = re.findall('<option value="(pair: [^"]+)"', page)
    assert values[:2] == ["pair: fake/first", "pair: fake/second"]
    page = player.embed(model=values[0], other=values[1])
    assert [call.model for call in provider.calls] == ["first", "second"]
    assert "They serve one vector space." in page.text
    assert log.embeddings == [("admin", "pair", 200, True)] * 2
    purchases = [dict(e.purchases) for e, _ in log.seen if e.route == "api.embeddings"]
    assert [list(one) for one in purchases] == [[("fake", "first")], [("fake", "second")]]
    links = re.findall(r'href="([^"]*request\?id=req_\w+)"', page.text)
    assert len(links) == 2
    for link in links:
        assert player.get(f"/console/{link.rpartition('/')[2]}").status_code == 200


def test_deployments_are_for_administrators(player, provider):
    assert "pair: fake/first" not in player.get("/console/playground").text
    page = player.embed(model="pair: fake/first")
    assert page.status_code == 403
    assert not provider.calls


def test_deployments_that_disagree_are_said_to(app, provider, monkeypatch):
    embed = provider.embed

    def other(call, deadline):
        found = embed(call, deadline)
        if call.model == "second":
            found.rows[0] = found.rows[1]
        return found

    provider.embed = other
    page = Player(app, ADMIN_KEY).embed(model="pair: fake/first", other="pair: fake/second")
    assert "They do not serve one vector space." in page.text


def test_failure_of_a_named_deployment_is_its_own(app, provider, log):
    provider.fail = UpstreamFailed("bug")  # no error of a provider: a bug of its adapter
    page = Player(app, ADMIN_KEY).embed(model="pair: fake/second")
    assert page.status_code == 502
    assert "This deployment failed" in alert_of(page)
    assert [call.model for call in provider.calls] == ["second"]
