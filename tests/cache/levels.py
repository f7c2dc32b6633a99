"""The entries of one vector space in a shared or a tiered cache."""

from app.cache.shared import SharedCache


class Level:
    """A vector space of a shared cache, as a `Cache`; `find` also returns the time to live."""

    def __init__(self, cache, space, width):
        self._cache, self._space = cache, cache.for_space(space, width)

    def find(self, keys):
        return self._cache.find(self._space, keys)

    def get(self, keys):
        return [known and known[0] for known in self.find(keys)]

    def put(self, entries):
        self._cache.put(self._space, entries)


def level(cache, space="m", width=8):
    """Return the `Cache` of a request, of either kind of cache."""
    if isinstance(cache, SharedCache):
        return Level(cache, space, width)
    return cache.for_space(space, width)
