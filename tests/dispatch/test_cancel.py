"""A cancellation ends only its own call, also if another call uses the connection by then."""

import time

from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.domain import Call
from app.providers.http.transport import HttpProvider
from app.providers.kinds.openai import make
from tests.support.upstream import Upstream, good


def test_late_cancellation_cuts_no_other_call():
    """A cancelled call may have its answer already, and its connection a further call."""
    with Upstream(32) as upstream:
        settings = ProviderSettings("a", "openai", upstream.base_url, upstream.api_key)
        provider = HttpProvider(settings, make(settings))
        soon = time.monotonic() + 60
        loser, others = Deadline(soon), Deadline(soon)
        provider.embed(Call("m", ["first"], 32), loser)

        def late(exchange):
            loser.cancel()
            good(exchange)

        upstream.always(late)
        vectors = provider.embed(Call("m", ["second"], 32), others)
        assert len(vectors.rows) == 1
        assert {call.connection for call in upstream.calls} == {1}
