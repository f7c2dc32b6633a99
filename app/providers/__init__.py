"""Providers: one module a wire format, named as the ``kind`` in ``PROVIDERS``.

A module builds requests and parses answers and does no I/O; `base` says what it must offer and
`transport` carries it over HTTP, by way of `connection` and `sockets`. To add one, see "Add a
provider" in docs/providers.md.
"""
