"""The decision after a failure of a part at a deployment, of two."""

from dataclasses import replace

from app.config.sections.dispatch import DispatchSettings
from app.dispatch.job.retry import Options, decide
from app.errors import (
    BrokenContract,
    ConnectionFailed,
    CredentialsRefused,
    ProviderTimeout,
    ProviderUnavailable,
    Rejected,
    Throttled,
)
from tests.dispatch.parts import attempt, deployment, part, pool

A, B = deployment("a"), deployment("b")
TRANSIENT = [
    ProviderUnavailable("failed with 503"),
    ConnectionFailed("could not be reached"),
    BrokenContract("answered something else"),
]
LASTING = [
    CredentialsRefused("refused our credentials (401)"),
    Throttled("asked us to slow down (429)"),
    ProviderTimeout("did not answer in time"),
]
REFUSED = Rejected("your input is invalid", param="input")
TOO_LARGE = Rejected("too many tokens", too_large=True)
SETTINGS = DispatchSettings()


def cause(error):
    return getattr(error, "cause", error)


def after(
    failure,
    has_other=True,
    has_any=True,
    has_candidate=True,
    has_second_opinion=True,
    trusts_400=False,
    failures=1,
    saved=20.0,
    batch_size=1,
    size=1,
    refused_by=(A,),
    doubts_400=False,
    is_kind_refused=False,
    merged=None,
    **fields,
):
    """Return the decision after a failure of a part at "a"."""
    refusals = {d: attempt(d) for d in refused_by}
    if merged is not None:
        refusals[merged.deployment] = merged
    failed = part(size, failures=[failure] * failures, refused_attempts=refusals, **fields)
    one = attempt(A, size)
    one.batch_size = batch_size
    of = pool(A, B, settings=replace(SETTINGS, saved_retries=saved))
    of_400 = has_second_opinion, trusts_400, doubts_400, is_kind_refused
    steps = Options(has_other, has_any, has_candidate, *of_400)
    return decide(failed, one, failure, of, steps)
