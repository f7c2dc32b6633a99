"""Half an hour (SOAK_SECONDS) of mixed load: memory, descriptors and threads stay as they were."""

import itertools
import json
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from tests.chaos.stack import Callers, Stack
from tests.support.server import ROOT

SECONDS = float(os.environ.get("SOAK_SECONDS") or 1800)
EVERY = 5.0  # seconds between two looks
PAGE = os.sysconf("SC_PAGE_SIZE")


def look(running: Stack, start: float, load: list[Callers]) -> dict[str, Any]:
    """Of all workers together: MiB, descriptors, threads; and how much was answered so far."""
    workers = running.proxy.workers()
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in workers)
    return {
        "seconds": round(time.monotonic() - start, 1),
        "mib": round(pages * PAGE / 2**20, 1),
        "files": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers),
        "threads": sum(len(os.listdir(f"/proc/{pid}/task")) for pid in workers),
        "answered": sum(callers.answered for callers in load),
    }


def odd_requests(running: Stack, end: threading.Event) -> None:
    """What is refused must not leak either: wrong keys, bad bodies, unknown paths, broken HTTP.

    Two of them are rows of the ledger: those to an embeddings path, with a key.
    """
    wrong, right = running.nginx.client("sk-wrong"), running.nginx.client()
    while not end.wait(0.2):
        assert wrong.embed("chaos", "x").status == 401
        metered = right.post(b'{"model": "chaos", "input": '), right.embed("nobody", "x")
        assert [answer.status for answer in metered] == [400, 404]
        for answer in metered:
            running.books.statuses[answer.headers["x-request-id"]] = answer.status
        assert right.get("/nowhere").status == 404
        assert running.proxy.client().raw(b"nonsense\r\n\r\n").status == 400


def test_soak(stack, note):
    running = stack(workers=2, providers=2)
    cached = running.callers(4, caching=True, pause=0.05)
    cached.texts = map("text {}".format, itertools.cycle(range(5000))).__next__
    fresh = running.callers(4, caching=True, pause=0.05, encoding_format="base64")
    plain = running.callers(4, pause=0.05)
    load, end = [cached, fresh, plain], threading.Event()
    odd = threading.Thread(target=odd_requests, args=(running, end))
    start, looks = time.monotonic(), []
    with cached, fresh, plain:
        odd.start()
        while time.monotonic() < start + SECONDS:
            time.sleep(min(EVERY, SECONDS / 20))
            looks.append(look(running, start, load))
        end.set()
    odd.join()
    books = running.books.compare()
    lost = [loss for callers in load for loss in callers.lost]
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "soak.json").write_text(json.dumps(looks))
    grown = {name: growth(looks, name) for name in ("mib", "files", "threads")}
    note(
        seconds=SECONDS,
        last=looks[-1],
        lost=len(lost),
        **books.noted(),
        **{f"grown_{k}": v for k, v in grown.items()},
    )
    draw(looks, ROOT / "docs" / "soak.png")
    assert lost == []
    assert books.differences() == {}
    assert grown["mib"] < 2 + 4 * min(1, SECONDS / 600), grown
    assert abs(grown["files"]) <= 12
    assert abs(grown["threads"]) <= 8


def growth(looks: list[dict[str, Any]], name: str) -> float:
    """From the second quarter, when all caches are full, to the last; of medians."""
    quarter = len(looks) // 4
    before = statistics.median(entry[name] for entry in looks[quarter : 2 * quarter])
    return round(statistics.median(entry[name] for entry in looks[-quarter:]) - before, 1)


def draw(looks: list[dict[str, Any]], path: Path) -> None:
    """The picture for docs/reliability.md, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {"mib": "resident memory, MiB", "files": "descriptors", "threads": "threads"}
    figure, axes = pyplot.subplots(3, 1, figsize=(8, 6), sharex=True, layout="constrained")
    minutes = [entry["seconds"] / 60 for entry in looks]
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        axis.plot(minutes, [entry[name] for entry in looks], color="#0b6e4f")
        axis.set_title(f"{title} of both workers", loc="left", fontsize=10)
        axis.set_ylim(0, 1.2 * max(entry[name] for entry in looks))
        axis.spines[["top", "right"]].set_visible(False)
    rate = looks[-1]["answered"] / looks[-1]["seconds"]
    axes[-1].set_xlabel(f"minutes, at {rate:,.0f} embeddings a second")
    figure.savefig(path, dpi=110)
