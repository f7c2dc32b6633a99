"""The settings: one dataclass for each section, with what each setting takes, and why.

* `declaration`: how one is made: type, range, default, unit and reason.
* `model`: every name that a file may define.
* `providers`: ``PROVIDERS``.
* `deployments`: ``MODELS`` and their deployments.
* `keys`: ``KEYS``.
* `dispatch`: ``DISPATCH``.
* `drift`: ``CHECK``.
* `cache_and_limits`: ``CACHE`` and ``LIMITS``.
* `services`: the ledger, OIDC, the webhook, metrics and tracing.
"""
