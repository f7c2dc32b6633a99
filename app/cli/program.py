"""The console script ``embeddings-proxy``: ``serve``, and every command for operators."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

import app
from app.cli import commands as cli
from app.cli.audit import audit
from app.cli.blocks import user
from app.cli.keys import key
from app.cli.limits import limits
from app.cli.simulate import simulate
from app.cli.usage import usage


@click.group()
@click.version_option(app.__version__, prog_name="embeddings-proxy")
def main() -> None:
    """Serve embeddings, or run a command. PROXY_SETTINGS names the file with the settings."""


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Serve. Options are gunicorn's: serve -b 0.0.0.0:8000 --workers 4.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(options: tuple[str, ...]) -> None:
    """Run gunicorn with the configuration `app.server.configuration` and these options.

    It replaces this process, which has imported modules that gunicorn's master must not.
    """
    if shadowing := _shadowing(Path.cwd()):
        raise click.ClickException(
            f"{shadowing} would be imported in the place of the proxy's package: "
            "serve from another directory"
        )
    gunicorn = ["-m", "gunicorn", "-c", "python:app.server.configuration", *options]
    arguments = [sys.executable, *gunicorn, "app.factory:create_app()"]
    os.execve(sys.executable, arguments, dict(os.environ))  # noqa: S606 - no shell


def _shadowing(directory: Path) -> Path | None:
    """Return a file in ``directory`` that gunicorn would import in place of this package."""
    ours = Path(app.__file__).parent
    for found in (directory / "app", directory / "app.py"):
        if found.exists() and found.resolve() != ours.resolve():
            return found
    return None


_COMMANDS = (
    cli.check_settings,
    cli.check,
    cli.new_key,
    cli.cache,
    usage,
    key,
    user,
    limits,
    audit,
    simulate,
)
for _command in _COMMANDS:
    main.add_command(_command)
