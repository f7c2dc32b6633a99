"""Load of several keys on a provider with few slots, and the waits of its requests."""

from collections import defaultdict
from itertools import count

from app.domain import Flow
from tests.dispatch.simulator import simulated

QUERY, BULK = Flow("query"), Flow("bulk")
A_CALL, A_TEXT = 0.001, 0.002  # seconds that calls of the provider take
SLOTS, MOST = 4, 64  # texts in a call
FULL_CALL = A_CALL + MOST * A_TEXT
SECONDS = 20


def sized(a_call=A_CALL, a_text=A_TEXT):
    """Return a provider whose calls take longer with more texts."""
    return lambda world, call: (
        (a_call + a_text * len(call.items)) * world.rng.uniform(0.97, 1.03),
        None,
    )


def provider(behaviour=None, slots=SLOTS, most=MOST, **options):
    deployment = {"provider": "a", "max_inputs": most}
    return simulated({"a": behaviour or sized()}, {"m": [deployment]}, concurrency=slots, **options)


def keep_asking(run, flow, clients, texts, seconds=SECONDS):
    """Let clients ask again and again. The texts begin with the name of the key."""
    numbers = count()

    def client():
        while run.world.now < 1000 + seconds:
            names = [f"{flow.key} {next(numbers):09}" for _ in range(texts)]
            if run.ask_and_wait("m", names, flow=flow).error is not None:
                run.world.pause(0.05)

    for _ in range(clients):
        run.world.spawn(client)


def ask_queries(run, number=150, flow=QUERY, every=0.0801):
    return [run.ask("m", [f"q{n}"], after=2 + n * every, flow=flow) for n in range(number)]


def waits(asked):
    assert all(one.error is None for one in asked)
    return sorted(one.heard - one.at for one in asked)


def at(share, values):
    return values[min(len(values) - 1, int(share * len(values)))]


def served(run, start=0.0, stop=SECONDS):
    """Return the texts that the provider has embedded in some seconds, by key."""
    texts = defaultdict(int)
    for call in run.calls():
        if 1000 + start <= call.ended < 1000 + stop:
            for item in call.items:
                texts[item.split()[0]] += 1
    return texts


def jain(values):
    """Jain's fairness index: 1 where all have the same."""
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))
