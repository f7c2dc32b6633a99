"""The examples of the README run unchanged, except for the port."""

import re
import subprocess
import sys

import pytest

from app.cli import development
from tests.support import javascript
from tests.support.server import ROOT, Proxy

README = (ROOT / "README.md").read_text()


def example(language: str, mark: str) -> str:
    """Return the only fenced block of a language with `mark` in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if mark in block]
    return block


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A server as `make run` starts it: the default settings and the development key."""
    directory = tmp_path_factory.mktemp("readme")
    with Proxy(directory, ALPHANEURAL_API_KEY=development.KEY) as proxy:
        yield proxy.port


def run(command, text: str, **options) -> str:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=100, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_block_has_make_run_and_make_test():
    first = re.search(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == [
        "make run",
        "make test",
    ]


def test_curl_example_works(port):
    shown = run(["bash", "-s"], example("sh", "curl").replace("8000", str(port)))
    assert shown.startswith('{"object":"list","data":[{"object":"embedding","index":0,')


def test_python_example_works(port):
    shown = run([sys.executable, "-"], example("python", "OpenAI").replace("8000", str(port)))
    assert shown == "2 128 4\n"


def test_javascript_example_works(port, tmp_path):
    javascript.install()
    (tmp_path / "node_modules").symlink_to(javascript.HOME / "node_modules")
    script = tmp_path / "readme.mjs"
    script.write_text(example("js", "OpenAI").replace("8000", str(port)))
    assert run([javascript.NODE, script], "") == "2 256 4\n"


def test_the_python_example_of_spaces(port):
    text = example("python", "OpenAI") + example("python", "extra_headers")
    shown = run([sys.executable, "-"], text.replace("8000", str(port)))
    assert shown.endswith("\n412 space_changed\n")


def test_the_javascript_example_of_spaces(port, tmp_path):
    javascript.install()
    (tmp_path / "node_modules").symlink_to(javascript.HOME / "node_modules")
    script = tmp_path / "readme.mjs"
    text = example("js", "OpenAI") + example("js", "x-proxy-space") + "console.log(space);"
    script.write_text(text.replace("8000", str(port)))
    assert re.fullmatch("2 256 4\nauto-[0-9a-f]{16}\n", run([javascript.NODE, script], ""))


def test_readme_names_the_key_of_make_run():
    assert development.KEY in README
