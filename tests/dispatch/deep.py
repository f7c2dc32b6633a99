"""The long search: ``make test-deep``, or ``python -m tests.dispatch.deep``.

Runs arrangements in two processes until they have made a million requests. ``--seconds`` stops
earlier; the next run then continues, from a small file under ``.deep/``. ``--from SEED`` starts at
a seed. Each seed that violates an invariant is printed; the exit code is 1 if there was one.
"""

import argparse
import json
import multiprocessing
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.dispatch.search import again, search_and_count

STATE = Path(".deep/state.json")
FIRST_SEED = 300  # `make test` has the seeds before
BLOCK = 64  # seeds between two writes of the state
MOST_SECONDS = 60  # for one arrangement, which usually takes 0.1 s
PROGRESS = 15.0  # seconds between two lines


class TooLong(BaseException):
    """An arrangement does not end. Not an `Exception`, because a simulation catches those."""


@dataclass
class State:
    """The progress of a run."""

    seed: int = FIRST_SEED  # next seed
    requests: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)  # by seed

    @classmethod
    def load(cls) -> "State":
        return cls(**json.loads(STATE.read_text())) if STATE.exists() else cls()

    def save(self) -> None:
        STATE.parent.mkdir(exist_ok=True)
        STATE.write_text(json.dumps(asdict(self)))

    def kinds(self) -> dict[str, int]:
        """Return seeds by kind of violation, the most frequent first."""
        found = Counter(
            kind
            for lines in self.broken.values()
            for kind in {line.split(":")[0] for line in lines}
        )
        return dict(found.most_common())


def try_seed(seed: int) -> tuple[int, int, list[str]]:
    """Return the seed, its number of requests and its violations, errors of the search included."""

    def stop(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        requests, broken = search_and_count(seed)
        return seed, requests, broken
    except TooLong:
        return seed, 0, [f"no end: after {MOST_SECONDS} s"]
    except Exception:
        return seed, 0, ["error: " + traceback.format_exc(limit=-4)]
    finally:
        signal.alarm(0)


def run(state: State, requests: int, seconds: float, processes: int) -> None:
    """Run until ``requests`` have been made or ``seconds`` have passed."""
    started = told = time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        while state.requests < requests and time.monotonic() - started < seconds:
            for seed, made, broken in pool.imap(try_seed, range(state.seed, state.seed + BLOCK)):
                state.requests += made
                if broken:
                    state.broken[str(seed)] = broken[:10]
                    print(f"seed {seed} ({again(seed)}):", *broken[:3], sep="\n  ", flush=True)
            state.seed += BLOCK
            state.save()
            if time.monotonic() - told > PROGRESS:
                told = time.monotonic()
                print(f"{progress(state)}, {told - started:.0f} s", flush=True)


def progress(state: State) -> str:
    return f"{state.requests:,} requests, next seed {state.seed}, broken: {state.kinds() or 'none'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--from", dest="seed", type=int, help="begin anew at this seed")
    parser.add_argument("--requests", type=int, default=1_000_000, help="in total")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of this run")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    state = State.load() if options.seed is None else State(options.seed)
    if state.requests:
        print(f"going on: {progress(state)}", flush=True)
    run(state, options.requests, options.seconds, options.processes)
    print(progress(state))
    if state.requests >= options.requests:
        STATE.unlink(missing_ok=True)  # the next run starts at the beginning
    else:
        print(f"stopped early; the next run goes on from {STATE}")
    return 1 if state.broken else 0


if __name__ == "__main__":
    sys.exit(main())
