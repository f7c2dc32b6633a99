"""The files of others are those that VENDORED.md names, unchanged."""

import hashlib
import re
from pathlib import Path

from app import console

VENDOR = Path(console.__file__).parent / "static" / "vendor"


def test_every_vendored_file_has_its_hash_and_a_licence():
    table = (VENDOR / "VENDORED.md").read_text()
    listed = dict(re.findall(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "VENDORED.md"
    }
    assert found == listed
    assert "MIT" in (VENDOR / "uPlot.LICENSE.txt").read_text()
