"""What tests do with a slot queue."""

from tests.dispatch.parts import T


def sent(queue, attempts):
    """Submit attempts; return the batches sent, each closed at once."""
    batches = []
    for one in attempts:
        batch = queue.submit(one, T)
        if batch is not None:
            queue.close(batch)
            batches.append(batch)
    return batches


def finished(queue, batch):
    """Return all batches sent one by one after a call has ended."""
    while (batch := queue.finish(batch, T)) is not None:
        queue.close(batch)
        yield batch
