"""Providers: one module a wire format, named as the ``kind`` in ``PROVIDERS``.

A module builds requests and parses answers and does no I/O; `base` says what it must offer, and
`registry` finds it. `bodies` has what they share: JSON, the check of vectors, their order; `counts`
reads token counts, `refusals` errors, `rate_limits` headers. `http` makes the calls (its
`transport`), `credentials` those of clouds. Servers that speak OpenAI's format are a `dialect`
each, in `presets`. To add one, see "Add a provider" in docs/providers.md.
"""
