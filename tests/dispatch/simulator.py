"""The real pipeline and dispatch in virtual time, with simulated callers and providers.

    with simulated({"a": dead, "b": good()}, {"m": [{"provider": "a"}, {"provider": "b"}]}) as run:
        run.ask("m", ["x", "y"], after=0.5)
        run.to_the_end()

`Simulation.to_the_end` checks invariants that hold for any behaviour of providers.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from app.cache.memory import MemoryCache
from app.config import (
    DeploymentSettings,
    LimitSettings,
    LogSettings,
    ModelSettings,
    ProviderSettings,
    Settings,
)
from app.config.sections.dispatch import DispatchSettings
from app.dispatch.deployments.deployment import Deployment
from app.domain import Caller, EmbeddingRequest, Item
from app.errors import (
    ClientError,
    ConnectionFailed,
    Rejected,
    Throttled,
)
from app.pipeline import Pipeline
from app.providers.base import Capabilities
from app.tokens.tokenizers import Tokenizer
from tests.dispatch.asked import Asked
from tests.dispatch.internals import WatchedDispatcher, leftovers
from tests.dispatch.members import Behaviour, Limits, Member, Seen
from tests.dispatch.virtual import DEADLY, World

RETRIES, HEDGES = 0.2, 0.05  # extra calls for each call …
SAVED = 20  # … and those available at the start
SOONEST = 0.05  # minimum seconds before a call is repeated: a slow probe is hedged then


class Simulation:
    """Simulated members by name, and models as lists of deployments.

    ``providers`` and ``model_settings`` are further settings by name.
    """

    def __init__(
        self,
        world: World,
        behaviours: Mapping[str, Behaviour],
        models: Mapping[str, list[dict[str, Any]]],
        caching: bool = False,
        hedge: bool = False,
        waiting: int = 1000,
        providers: Mapping[str, dict[str, Any]] | None = None,
        model_settings: Mapping[str, dict[str, Any]] | None = None,
        takes: Mapping[str, Capabilities] | None = None,
        bytes_per_token: Mapping[str, int] | None = None,
        tokenizers: Mapping[str, Tokenizer] | None = None,
        cache_bytes: int = 2**20,
        workers: int = 1,
        dispatch: DispatchSettings | None = None,
        **provider: Any,
    ) -> None:
        self.world = world
        self.asked: list[Asked] = []
        own, model_own = providers or {}, model_settings or {}
        self.members = {
            name: Member(
                world, name, b, (takes or {}).get(name), (bytes_per_token or {}).get(name, 4)
            )
            for name, b in behaviours.items()
        }
        self.settings = Settings(
            providers={
                n: ProviderSettings(n, "openai", **{**provider, **own.get(n, {})})
                for n in behaviours
            },
            models={
                n: _model(n, deployments, {"hedge": hedge, **model_own.get(n, {})})
                for n, deployments in models.items()
            },
            keys={},
            cache=None,
            limits=LimitSettings(waiting=waiting),
            logs=LogSettings(),
            workers=workers,
            dispatch=dispatch or DispatchSettings(),
        )
        self.dispatchers = [
            WatchedDispatcher(
                world,
                self.settings,
                self.members,
                tokenizers=tokenizers,
                has_host_store=workers > 1,
            )
            for _ in range(workers)
        ]
        self.dispatcher = self.dispatchers[0]
        self.hedged, self.caching = hedge, caching
        widths = {name: model.dimensions for name, model in self.settings.models.items()}
        self.pipelines = [
            Pipeline(
                dispatcher,
                MemoryCache(cache_bytes, 3600, lambda: world.now) if caching else None,
                widths=widths,
            )
            for dispatcher in self.dispatchers
        ]
        self.pipeline = self.pipelines[0]
        self.answered = 0  # requests
        self._tell_the_members()

    def _tell_the_members(self) -> None:
        """Let members record calls over a limit."""
        workers = self.settings.workers
        for name, member in self.members.items():
            # A worker that cannot reach the store makes one call at least.
            member.slots = max(workers, self.settings.providers[name].max_concurrency)
        for model in self.settings.models.values():
            for d in model.deployments:
                provider = self.settings.providers[d.provider]
                self.members[d.provider].at_most[d.model] = Limits(
                    d.concurrency and max(workers, d.concurrency),
                    d.max_inputs or provider.max_inputs,
                    d.max_tokens or provider.max_tokens,
                    d.max_item_tokens,
                )

    def deployment(self, member: str, model: str = "m") -> Deployment:
        return next(
            d
            for name, d in self.dispatcher.deployments()
            if (name, d.provider_name) == (model, member)
        )

    def calls(self, *members: str) -> list[Seen]:
        """Return the calls to some members, or to all."""
        return [call for name in members or self.members for call in self.members[name].seen]

    def ask(
        self,
        model: str,
        items: Sequence[Item],
        after: float = 0.0,
        timeout: float = 600,
        leaves_after: float | None = None,
        worker: int = 0,
        **f: Any,
    ) -> Asked:
        """Make a request after some seconds; its client leaves after further seconds, or never."""
        asked = self._new(model, items, self.world.now + after, timeout, **f)
        asked.worker = worker
        if leaves_after is not None:
            asked.leaves_at = asked.at + leaves_after
        self.world.at(asked.at, lambda: self.world.spawn(self._ask, asked))
        return asked

    def ask_and_wait(
        self, model: str, items: Sequence[Item], timeout: float = 600, **f: Any
    ) -> Asked:
        """Make a request in the virtual thread that calls this, and return it with its result."""
        asked = self._new(model, items, self.world.now, timeout, **f)
        self._ask(asked)
        return asked

    def _new(self, model: str, items: Sequence[Item], at: float, timeout: float, **f: Any) -> Asked:
        request = EmbeddingRequest(model, items, timeout=timeout, caching=self.caching, **f)
        asked = Asked(request, at)
        self.asked.append(asked)
        return asked

    def _ask(self, asked: Asked) -> None:
        asked.at = self.world.now
        try:
            asked.outcome = self.pipelines[asked.worker].run(
                asked.request,
                Caller("tests"),
                asked.at + asked.request.timeout,
                lambda: self.world.now >= asked.leaves_at,
            )
        except ClientError as error:
            asked.error = error
        except DEADLY as error:
            asked.bug = error
        finally:
            if asked.heard is not None:
                self.world.wrong.append("a caller heard twice")
            asked.heard = self.world.now
            self.answered += 1

    def waits(self, worker: int | None = None) -> bool:
        """Return whether a request of a worker, or of any, has no answer yet."""
        if worker is None:
            return self.answered < len(self.asked)
        return any(asked.worker == worker and asked.heard is None for asked in self.asked)

    def to_the_end(self) -> None:
        """Run the simulation to its end, and check invariants.

        Each caller got one result by its deadline: its own vectors in order, or an error of its
        own. No limit was exceeded, no item was sent again without need, and no state is left.
        """
        self.world.run()
        assert not self.world.wrong, self.world.wrong[:5]
        assert self.world.threads == 0, "a thread waits for ever"
        for asked in self.asked:
            asked.check()
        self._check_repeats()
        self._check_nothing_left()

    def _check_repeats(self) -> None:
        """Check that an item is sent again only after a failure or because a call was late."""
        impatient = SOONEST if not self.hedged else 0.0
        for asked in self.asked if not self.caching else ():
            wait = min(impatient, asked.request.timeout / 2)
            for first, again in self._repeats(asked):
                failed = first.error is not None and first.ended <= again.began
                early = again.began < first.began + wait
                assert failed or not early, f"{again.items[:3]} were sent twice"

    def _repeats(self, asked: Asked) -> set[tuple[Seen, Seen]]:
        """Return pairs of consecutive calls with the same item of a request."""
        pairs = set()
        items = asked.request.items
        for item in items:
            if items.count(item) == 1:
                pairs |= set(itertools.pairwise(self._calls_with[str(item)]))
        return pairs

    @cached_property
    def _calls_with(self) -> dict[str, list[Seen]]:
        sent: dict[str, list[Seen]] = defaultdict(list)
        for call in sorted(self.calls(), key=lambda call: call.began):
            for item in call.items:
                sent[str(item)].append(call)
        return sent

    def _check_nothing_left(self) -> None:
        left = leftovers(self.dispatcher, self.pipeline, self.world.now)
        assert not left, left[:5]

    def check_budget(self) -> None:
        """Check that retries are within the budget; refused connections and 429 do not count.

        Bisection of a refused batch is no retry. Not for cached items: calls do not show which
        request they are for.
        """
        owner = {str(item): id(asked) for asked in self.asked for item in asked.request.items}
        # Requests that share a call share its cost.
        extra = sum(
            1 / len({owner[str(item)] for item in first.items})
            for asked in self.asked
            for first in {first for first, _ in self._repeats(asked)}  # a retry, split or not
            if not isinstance(first.error, ConnectionFailed | Rejected | Throttled)
        )
        models = len(self.settings.models)
        # A part earns a share when it is first sent, and a large request has several parts.
        firsts = max(len(self.asked), len(self.calls()) - round(extra))
        allowed = firsts * (RETRIES + HEDGES * self.hedged) + SAVED * models
        assert extra <= allowed + 1e-6, f"{extra} extra calls for {len(self.asked)} requests"

    def errors(self) -> list[str | None]:
        return [asked.code for asked in self.asked if asked.error is not None]


@contextmanager
def simulated(*args: Any, seed: int = 0, **options: Any) -> Iterator[Simulation]:
    with World(seed).installed() as world:
        yield Simulation(world, *args, **options)


def _model(name: str, deployments: list[dict[str, Any]], own: dict[str, Any]) -> ModelSettings:
    made = tuple(DeploymentSettings(**{"model": name, **d}) for d in deployments)
    return ModelSettings(name, made, **own)
