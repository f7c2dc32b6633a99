"""A job whose attempts the test answers."""

import random

from app.dispatch.deployments.preparation import prepare
from app.dispatch.events import Events
from app.dispatch.job.context import JobContext, JobDeadline
from app.dispatch.job.job import Job
from app.domain import EmbeddingRequest, Flow
from tests.dispatch.parts import SEED, T, deployment, pool, vectors


class Sent:
    """A fake sender that records attempts."""

    def __init__(self):
        self.batches, self.ejections = [], []

    def send(self, batch):
        self.batches.append(batch)

    def report_ejection(self, pool, deployment, now):
        self.ejections.append(deployment)


class Asking:
    """A job of ``size`` items, whose attempts the test answers."""

    def __init__(self, *deployments, size=1, seconds=60.0, flow=Flow(), **options):  # noqa: B008
        self.deployments = deployments or (deployment("a"),)
        self.pool = pool(*self.deployments)
        self.sent, self.wakes, self.published = Sent(), 0, []
        request = EmbeddingRequest("m", [str(n) for n in range(size)], timeout=seconds, flow=flow)
        deadline = JobDeadline(T + seconds)
        prepared = prepare(self.pool, request, deadline)
        self.context = JobContext(request, self.pool, prepared, deadline, Events(), is_hedged=False)
        self.job = Job(
            self.context,
            self.sent,
            random.Random(SEED),
            self.wake,
            on_part=lambda *args: self.published.append(args),
            **options,
        )

    def wake(self):
        self.wakes += 1

    def take(self):
        """Return the attempts sent since the last call, as sent now."""
        batches, self.sent.batches = self.sent.batches, []
        for batch in batches:
            batch.deployment.queue.close(batch)
            for one in batch.attempts:
                one.call_started_at = T
        return [one for batch in batches for one in batch.attempts]

    def answer(self, one, now, result=None):
        """Report the result of an attempt to the job, and end its call."""
        batch, queue = one.batch, one.deployment.queue
        is_awaited = queue.finish_attempt(one, 1)
        following = queue.finish(batch, now)
        if following is not None:
            self.sent.send(following)
        if is_awaited:
            rows = vectors([int(item) for item in one.call.items])
            self.job.receive(one, rows if result is None else result, now)

    def assert_nothing_left(self):
        for made in self.deployments:
            assert made.queue.outstanding(made) == 0
            assert made.queue.free == made.queue.slots
