"""The vectors of the probe texts, call by call, and the texts that a provider refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.dispatch.deployments.call_size import split
from app.dispatch.deployments.deployment import Deployment
from app.dispatch.drift.texts import NAMES, PROBES
from app.domain import Vectors
from app.errors import Rejected
from app.tokens.counting import estimate

#: Texts that a provider may refuse alone. More of them show that it refuses every call.
MAX_REFUSED = 4

#: Embeds texts in one call. Raises a `ProviderError`.
MakeCall = Callable[[Sequence[str]], Vectors]


@dataclass(slots=True)
class Progress:
    """The vectors that a check has got so far, by the indexes of the probe texts.

    A check that could not end goes on where it was. Times are in seconds since 1970.
    """

    reference: str = ""  # the id of what the rows are for
    begun_at: float = 0.0
    changed_at: float = 0.0  # when the last row came
    rows: dict[int, bytes] = field(default_factory=dict)
    refused: dict[int, Rejected] = field(default_factory=dict)

    def missing(self) -> list[int]:
        """Return the texts that have neither a vector nor been refused."""
        return [i for i in range(len(PROBES)) if i not in self.rows and i not in self.refused]

    def embed(self, indexes: Sequence[int], make_call: MakeCall) -> None:
        """Embed these texts; on a refusal, halve them to isolate the text that is refused.

        Raises what ``make_call`` raises, and `Rejected` for more than `MAX_REFUSED` refused texts.
        """
        try:
            vectors = make_call([PROBES[i] for i in indexes])
        except Rejected as error:
            if len(indexes) > 1:
                half = len(indexes) // 2
                self.embed(indexes[:half], make_call)
                self.embed(indexes[half:], make_call)
                return
            self.refused[indexes[0]] = error
            if len(self.refused) > MAX_REFUSED:
                raise Rejected(self.refusal()) from error
        else:
            self.rows.update(zip(indexes, vectors.rows, strict=True))

    def refusal(self) -> str:
        """Return which texts are refused, and why, as the end of a sentence; "" where none is."""
        if not self.refused:
            return ""
        names = ", ".join(repr(NAMES[i]) for i in sorted(self.refused))
        noun = "text" if len(self.refused) == 1 else "texts"
        reason = next(iter(self.refused.values())).message
        return f"refuses the probe {noun} {names}: {reason}"


def calls_for(deployment: Deployment, indexes: Sequence[int]) -> list[Sequence[int]]:
    """Return the texts of each call that the deployment's limits need."""
    sizes = [estimate(PROBES[i]) for i in indexes]
    cuts = split(sizes, deployment.max_inputs, deployment.max_tokens)
    return [indexes[start:stop] for start, stop in cuts]


def embed_texts(deployment: Deployment, make_call: MakeCall) -> list[bytes]:
    """Return the vectors of all probe texts, in as many calls as the deployment's limits need.

    Raises what ``make_call`` raises, and `Rejected` with the names of texts that are refused.
    """
    progress = Progress()
    for indexes in calls_for(deployment, progress.missing()):
        progress.embed(indexes, make_call)
    if progress.refused:
        raise Rejected(progress.refusal())
    return [progress.rows[i] for i in range(len(PROBES))]
