"""No installed package has a known vulnerability, by pip-audit and the database of PyPI.

Without network, or with a mirror that has no such database, the test is skipped with the reason. A
database of the test shows that the audit finds known vulnerabilities.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

OURS = "embeddings-proxy"
NO_PROXY = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def installed() -> list[str]:
    """Return ``name==version`` of each distribution except this project."""
    names = {(found.name, found.version) for found in metadata.distributions()}
    return sorted(f"{name}=={version}" for name, version in names if name != OURS)


def audit(pins: list[str], directory: Path, *options: str) -> dict[str, list[str] | None]:
    """Return known vulnerabilities by package; None if the database does not know the package."""
    requirements = directory / "requirements.txt"
    requirements.write_text("\n".join(pins))
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--format=json"]
    command += ["--progress-spinner=off", "--timeout=5", f"--cache-dir={directory / 'cache'}"]
    done = subprocess.run(
        [*command, "--requirement", str(requirements), *options],
        env=NO_PROXY,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        raise ConnectionError(done.stderr.strip().splitlines()[-1])
    return {
        package["name"]: [known["id"] for known in package["vulns"]] if "vulns" in package else None
        for package in json.loads(done.stdout)["dependencies"]
    }


def test_no_installed_package_has_a_known_vulnerability(tmp_path: Path):
    try:
        found = audit(installed(), tmp_path)
    except ConnectionError as error:
        pytest.skip(f"cannot be audited here: {error}")
    if not any(known is not None for known in found.values()):
        pytest.skip("the registry here tells of no vulnerabilities, nor that there are none")
    assert {package: known for package, known in found.items() if known} == {}


def test_a_known_vulnerability_is_found(tmp_path: Path, database: str):
    found = audit(["flask==3.0.0", "requests==2.0.0"], tmp_path, "-s=osv", f"--osv-url={database}")
    assert found == {"flask": [], "requests": ["PYSEC-2014-13"]}


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of a database in the format of osv.dev, with a vulnerability of requests 2.0.0."""
    known = {
        "id": "PYSEC-2014-13",
        "summary": "Credentials of a proxy are sent to another host.",
        "affected": [
            {
                "package": {"name": "requests", "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.3.0"}]}
                ],
                "versions": ["2.0.0"],
            }
        ],
    }

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            vulnerable = query["package"]["name"] == "requests"
            body = json.dumps({"vulns": [known]} if vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
