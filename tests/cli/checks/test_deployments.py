"""`flask --app wsgi check`: deployments of a model must serve one vector space."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from app.cli import commands as cli
from app.domain import Vectors
from app.errors import BrokenContract, ProviderUnavailable
from app.providers.base import Capabilities

WIDTH = 16


class Space:
    """A provider with vectors of the space with the number ``space`` and a little noise."""

    def __init__(self, space=1, width=WIDTH, noise=0.0, most=None, cuts=True, fail=None):
        self.capabilities = Capabilities(max_inputs=None, dimensions=cuts is not None)
        self.space, self.width, self.noise, self.most = space, width, noise, most
        self.cuts, self.fail = cuts, fail

    def limits(self, _model):
        return self.capabilities

    def embed(self, call, deadline):
        if self.fail:
            raise self.fail
        if self.most is not None and len(call.items) > self.most:
            raise ProviderUnavailable("failed with 500")
        return Vectors([self.row(item, call) for item in call.items], [1] * len(call.items))

    def row(self, item, call):
        digest = hashlib.sha256(f"{self.space}{item}".encode()).digest()
        values = np.random.default_rng(int.from_bytes(digest[:8])).normal(size=self.width)
        values += self.noise * np.random.default_rng(1).normal(size=self.width)
        if call.dimensions is not None:
            values = values[: call.dimensions] if self.cuts else values[-call.dimensions :]
        if call.width is not None and len(values) != call.width:
            raise BrokenContract(f"answered a vector {len(values)} wide")
        return (values / np.linalg.norm(values)).astype("<f4").tobytes()


def findings(result):
    return json.loads(result.stdout)


def test_equal_deployments_pass(check):
    result = check("--json", a=Space(), b=Space(noise=0.001))
    assert result.exit_code == 0
    first, second = findings(result)
    assert first["cosine"] == second["cosine"]
    assert 0.999 < second["cosine"] <= 1
    assert (second["width"], second["norm"], second["reachable"]) == (WIDTH, 1.0, True)


def test_two_vector_spaces_are_an_error(check):
    result = check(a=Space(1), b=Space(2))
    assert result.exit_code == 1
    assert "these do not serve the same vector space" in result.output
    assert "FAIL" in result.output


def test_two_widths_are_an_error(check):
    result = check("--json", dimensions=None, a=Space(), b=Space(width=8))
    assert result.exit_code == 1
    assert "not as wide" in findings(result)[1]["errors"][0]


def test_unreachable_deployment_is_named_and_others_are_checked(check):
    result = check("--json", a=Space(fail=ProviderUnavailable("failed with 503")), b=Space())
    assert result.exit_code == 1
    dead, well = findings(result)
    assert dead["errors"] == ["it failed with 503"]
    assert not dead["reachable"]
    assert well["errors"] == []


def test_max_inputs_is_tried(check):
    good, bad = findings(check("--json", max_inputs=64, a=Space(), b=Space(most=32)))
    assert good["batch"] == 64
    assert "max_inputs of 64" in bad["errors"][0]
    assert check("--no-batch", max_inputs=64, b=Space(most=32)).exit_code == 0


def test_max_inputs_below_the_number_of_probes_is_respected(check):
    (finding,) = findings(check("--json", max_inputs=3, a=Space(most=3)))
    assert finding["errors"] == []


@pytest.mark.parametrize("matryoshka", [True, [4, 8, 16]])
def test_dimensions_are_compared_with_cut_vectors(check, matryoshka):
    result = check(
        "--json", matryoshka=matryoshka, a=Space(), b=Space(cuts=False), c=Space(cuts=None)
    )
    cut, otherwise, by_the_proxy = findings(result)
    assert cut["dimensions"] is True
    assert otherwise["dimensions"] is False
    assert "not Matryoshka" in otherwise["errors"][0]
    assert by_the_proxy["dimensions"] is True


def test_refused_dimensions_are_an_error(check):
    class Stubborn(Space):
        def embed(self, call, deadline):
            if call.dimensions is not None:
                raise ProviderUnavailable("failed with 500")
            return super().embed(call, deadline)

    (finding,) = findings(check("--json", matryoshka=True, a=Stubborn()))
    assert finding["dimensions"] is False
    assert "with dimensions=8 it failed" in finding["errors"][0]


def test_table_has_a_line_for_each_deployment(check):
    lines = check(a=Space()).output.splitlines()
    assert lines[0].split()[:3] == ["model", "deployment", "latency_ms"]
    assert lines[1].split()[:3] == ["ok", "m", "a/x"]


def test_wrong_settings_end_the_check(monkeypatch, tmp_path):
    path = tmp_path / "settings.py"
    path.write_text("KEYS = {}\n")
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    result = CliRunner().invoke(cli.check)
    assert result.exit_code == 1
    assert "KEYS: " in result.output
