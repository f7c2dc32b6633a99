"""The commands ``check-settings``, ``new-key`` and ``check`` of ``flask --app wsgi``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import click

from app import config
from app.cli.cache import cache
from app.cli.common import fail, verified_settings
from app.cli.tables import json_option

if TYPE_CHECKING:
    from app.dispatch import Dispatcher

#: The entry points of setup.cfg name these.
__all__ = ["cache", "check", "check_settings", "new_key"]


@click.command("check-settings")
def check_settings() -> None:
    """Check the settings by building the app, and name every mistake in them."""
    from app.config.check_process import mistakes

    # First in a process of its own: settings are a program, which may never return.
    if wrong := mistakes():
        fail("\n".join(wrong))
    settings = verified_settings()
    click.echo(
        f"The settings are good: {len(settings.models)} models, {len(settings.providers)} "
        f"providers, {len(settings.keys)} keys."
    )


@click.command("new-key")
@click.argument("name")
def new_key(name: str) -> None:
    """Create a key, show it once, and print its line for KEYS."""
    from app.auth.authenticator import new_key as create
    from app.config.sections.keys import check_name

    try:
        check_name(name)
    except ValueError as error:
        fail(error)
    key, digest = create()
    click.echo(f"The key, shown only now:\n\n    {key}\n\nThe line for KEYS:\n")
    click.echo(f'    {name!r}: {{"sha256": "{digest}", "models": ["*"]}},')


@click.command("check")
@json_option
@click.option("--timeout", default=30.0, show_default=True, help="Seconds each call may take.")
@click.option("--no-batch", is_flag=True, help="Do not try a call of max_inputs inputs.")
@click.option("--all", "with_services", is_flag=True, help="Ask Valkey, database, JWKS … too.")
@click.option("--model", "only", multiple=True, help="Only this model; may be given more often.")
@click.option(
    "--record", is_flag=True, help="Keep the vectors as the reference of their vector space."
)
@click.option(
    "--compare",
    "compared",
    nargs=2,
    metavar="MODEL_A MODEL_B",
    help="Only say whether two models serve one vector space.",
)
def check(
    as_json: bool,
    timeout: float,
    no_batch: bool,
    with_services: bool,
    only: tuple[str, ...],
    record: bool,
    compared: tuple[str, str] | None,
) -> None:
    """Check the settings, then ask every deployment of every model to embed probe texts.

    The vectors are compared with each other, and with those that `check --record` has kept. The
    exit code is 1 where something is wrong, drift included.
    """
    from app.cli.checks import services as check_services
    from app.cli.checks import spaces as check_spaces
    from app.cli.checks.deployments import check as check_deployments
    from app.cli.checks.deployments import table
    from app.dispatch import Dispatcher
    from app.providers.registry import make_used

    if compared and with_services:
        fail("--compare only compares two models: leave --all out")
    if record and (compared or with_services or as_json):
        fail("--record only records: leave --compare, --all and --json out")
    settings = verified_settings()
    dispatcher = Dispatcher(
        settings, make_used(settings), tokenizers=config.load_tokenizers(settings)
    )
    if compared:
        _compare(settings, dispatcher, compared, timeout, as_json)
    _models_exist("--model", only, settings)
    deployments = [d for d in dispatcher.deployments() if not only or d[0] in only]
    findings = check_deployments(deployments, timeout, no_batch or record)
    spaces = {name: model.space for name, model in settings.models.items()}
    check_spaces.compare_pairs(findings, spaces, check_spaces.min_cosine_of(settings))
    if record:
        check_spaces.record(settings, findings, spaces)
    problem = check_spaces.compare_with_recorded(settings, findings, spaces)
    checks = check_services.services(settings, timeout) if with_services else {}
    services = check_services.check_services(checks, timeout)
    if as_json:
        found = [finding.as_dict() for finding in findings]
        both = {"deployments": found, "services": [asdict(s) for s in services]}
        click.echo(json.dumps(both if with_services else found, indent=2))
    else:
        click.echo(table(findings))
        if services:
            click.echo(check_services.table(services))
    if problem:
        click.echo(problem, err=True)
    is_wrong = any(finding.errors for finding in findings) or not all(s.ok for s in services)
    sys.exit(is_wrong or bool(problem))


def _models_exist(option: str, names: Iterable[str], settings: config.Settings) -> None:
    for name in names:
        if name not in settings.models:
            fail(f"{option}: {config.unknown('model', name, settings.models, 'MODELS')}")


def _compare(
    settings: config.Settings,
    dispatcher: Dispatcher,
    names: tuple[str, str],
    timeout: float,
    as_json: bool,
) -> NoReturn:
    """Compare two models, and exit: with 0 where they serve one space."""
    from app.cli.checks.compare import compare, text_of
    from app.cli.checks.spaces import min_cosine_of

    _models_exist("--compare", names, settings)
    min_cosine = min_cosine_of(settings)
    result = compare(settings.models, dispatcher.deployments(), names, timeout, min_cosine)
    click.echo(json.dumps(asdict(result), indent=2) if as_json else text_of(result))
    sys.exit(not result.is_one_space)
