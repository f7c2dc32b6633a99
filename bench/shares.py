"""How long a query waits beside bulk work, in virtual time: ``python -m bench.shares``.

Simulates a provider with 4 slots and 64 texts a call, which takes 1 ms and 2 ms a text. One key
sends 12 queries a second, another one embeds 500 texts a request with more and more clients. Writes
docs/shares.svg, and prints the table of README.md and docs/dispatch.md.
"""

from pathlib import Path

from app.cli.simulation.figures import GroupFigures, group_figures
from app.cli.simulation.load import CallerLoad, Load, ProviderLoad
from app.cli.simulation.run import Sharing, simulate
from app.config import Settings, check
from app.providers import registry
from bench.curves import Curve, svg

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "shares.svg"
SECONDS = 120
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
WAYS: tuple[tuple[str, str, Sharing], ...] = (
    ("one queue, in order of arrival", "#d1495b", "one queue"),
    ("fair queues, both tier default", "#c07f00", "equal keys"),
    ("fair queues, ingest tier flex", "#1a8f6f", "configured"),
)


def settings() -> Settings:
    """Return the settings: the ingest is of tier flex."""
    names = {
        "PROVIDERS": {
            "engine": {"kind": "tei", "base_url": "http://127.0.0.1:9", "max_inputs": 64}
            | {"concurrency": 4}
        },
        "MODELS": {"m": {"deployments": [{"provider": "engine", "model": "m"}]}},
        "KEYS": {
            "search": {"sha256": "0" * 64},
            "ingest": {"sha256": "1" * 64, "service_tier": "flex"},
        },
    }
    return check(names, registry)


def load(clients: int) -> Load:
    """Return the load: queries, and so many clients that embed 500 texts a request."""
    queries = CallerLoad("search", "m", per_second=12, tokens=(5, 30))
    ingest = CallerLoad("ingest", "m", clients=clients, texts=(500, 500))
    times = ProviderLoad("engine", seconds_a_call=0.001, seconds_a_text=0.002)
    return Load((queries, ingest) if clients else (queries,), {"engine": times})


def figures(clients: int, sharing: Sharing) -> dict[str, GroupFigures]:
    """Return the figures of each key."""
    run = simulate(load(clients), settings(), SECONDS, sharing=sharing)
    return {one.key: one for one in group_figures(run)}


def row(name: str, found: dict[str, GroupFigures]) -> str:
    """Return a line of the table."""
    query, ingest = found["search"].total_ms, found.get("ingest")
    rate = f"{ingest.texts_per_second:,.0f}" if ingest else ""
    return f"| {name} | {query[50]:,.0f} | {query[95]:,.0f} | {query[99]:,.0f} | {rate} |"


def main() -> None:
    print("| queries beside | p50 ms | p95 ms | p99 ms | ingest, texts/s |")
    print("|---|---|---|---|---|")
    print(row("nothing", figures(0, "configured")))
    curves = []
    for name, colour, sharing in WAYS:
        by_clients = {clients: figures(clients, sharing) for clients in CLIENTS}
        print(row(f"64 clients: {name}", by_clients[CLIENTS[-1]]))
        points = [(clients, by_clients[clients]["search"].total_ms[95]) for clients in CLIENTS]
        curves.append(Curve(name, colour, points))
    title = "95 % of the queries are answered within"
    PICTURE.write_text(svg(title, "clients that embed 500 texts a request", curves))


if __name__ == "__main__":
    main()
