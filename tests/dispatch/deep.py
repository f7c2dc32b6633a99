"""The search at length: ``make test-deep``, or ``python -m tests.dispatch.deep``.

Runs arrangement after arrangement, in two processes, until they have made a million requests.
``--seconds`` stops earlier; the next run then goes on where this one stopped, by a small file under
``.deep/``. ``--from SEED`` begins anew at a seed. Each seed that breaks a promise is printed; the
exit code is 1 if there was one.
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
FIRST_SEED = 300  # those before are in every `make test`
BLOCK = 64  # seeds between two writes of the state
MOST_SECONDS = 60  # of one arrangement, which takes a tenth of a second
PROGRESS = 15.0  # seconds from one line to the next


class TooLong(BaseException):
    """An arrangement does not come to its end. Not an Exception: a simulation catches those."""


@dataclass
class State:
    """How far a run has come."""

    seed: int = FIRST_SEED  # the next one
    requests: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)  # by seed

    @classmethod
    def load(cls) -> "State":
        return cls(**json.loads(STATE.read_text())) if STATE.exists() else cls()

    def save(self) -> None:
        STATE.parent.mkdir(exist_ok=True)
        STATE.write_text(json.dumps(asdict(self)))

    def kinds(self) -> dict[str, int]:
        """Seeds by kind of broken promise, the most frequent first."""
        found = Counter(
            kind
            for lines in self.broken.values()
            for kind in {line.split(":")[0] for line in lines}
        )
        return dict(found.most_common())


def try_seed(seed: int) -> tuple[int, int, list[str]]:
    """A seed, the requests of its arrangement and what it breaks; errors of the search too."""

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
    """Go on until so many requests have been made, or so many seconds have passed."""
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
        STATE.unlink(missing_ok=True)  # the next run begins anew
    else:
        print(f"stopped early; the next run goes on from {STATE}")
    return 1 if state.broken else 0


if __name__ == "__main__":
    sys.exit(main())
