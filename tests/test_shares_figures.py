"""The figures of README.md and docs/dispatch.md are those of the simulation; so is the picture."""

import re
from xml.etree import ElementTree as ET

import pytest

from bench.curves import Curve, svg
from bench.shares import PICTURE, WAYS, figures
from tests.support.server import ROOT

ROWS = {
    page: re.findall(r"^\| .+? \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]*) ?\|$", text, re.M)
    for page in ("README.md", "docs/dispatch.md")
    if (text := (ROOT / page).read_text())
}
CURVES = [Curve("<a>", "#123456", [(1, 0.5), (64, 9000)]), Curve("b", "#654321", [(2, 3), (64, 3)])]


def test_both_pages_have_the_same_table():
    assert len(ROWS["README.md"]) == 1 + len(WAYS)
    assert ROWS["README.md"] == ROWS["docs/dispatch.md"]


@pytest.mark.no_cover  # see `tests.support.ordering`
@pytest.mark.parametrize("number", range(len(WAYS)))
def test_rows_of_the_table_are_what_the_simulation_gives(number):
    found = figures(64, WAYS[number][2])
    shown = [float(cell.replace(",", "")) for cell in ROWS["README.md"][1 + number]]
    simulated = [*found["search"].total_ms.values(), found["ingest"].texts_per_second]
    assert simulated == pytest.approx(shown, rel=0.1, abs=1)


def test_the_picture_is_an_image_that_names_what_it_shows():
    root = ET.parse(PICTURE).getroot()
    title = root.find("{*}title").text
    assert all(name in title for name, _, _ in WAYS)


def test_all_points_of_a_picture_are_inside():
    root = ET.fromstring(svg("A title", "x & y", CURVES))
    _, _, width, height = map(float, root.get("viewBox").split())
    circles = root.findall(".//{*}circle")
    assert len(circles) == 4
    assert all(0 < float(c.get("cx")) < width and 0 < float(c.get("cy")) < height for c in circles)
    assert "<a>: 9.0 s" in [text.text for text in root.findall(".//{*}text")]
