"""Settings: a Python module in, frozen and checked dataclasses out.

Each setting is declared once, as a field of a dataclass. All mistakes are found at once, each on a
line that names the setting and says what would be right.

From a file to settings:

* `loading`: runs ``app/settings.py`` and the operator's file; `overlay`: runs one file.
* `schema`: makes the marshmallow schemas of the declarations; `fields`: checks of single values;
  `addresses`: checks of addresses; `messages`: the messages of mistakes.
* `settings_schema`: the schema of all settings; checks that names in them refer to something.
* `spaces`: the vector space of each model.
* `check_process`: builds the whole app with the settings, in a process of its own.
* `origins`: finds where in a file a setting comes from.
* `documentation`: writes docs/settings.md and the comments of ``app/settings.py``.

Declarations:

* `declaration`: how one is made: type, range, default, unit and reason.
* `model`: every name that a file may define.
* `providers`: ``PROVIDERS``; `calls_at_once`: their ``"concurrency"``.
* `deployments`: ``MODELS`` and their deployments.
* `keys`: ``KEYS``.
* `dispatch`: ``DISPATCH``.
* `drift`: ``CHECK``.
* `cache_and_limits`: ``CACHE`` and ``LIMITS``.
* `services`: the ledger, OIDC, the webhook, metrics and tracing.

Nothing here knows Flask, requests, a provider or a running proxy, so that the check can run
anywhere: in gunicorn's master before a worker starts, in ``flask check-settings``, in a CI job.
"""

from app.config.cache_and_limits import CacheSettings, LimitSettings
from app.config.deployments import DeploymentSettings, ModelSettings
from app.config.dispatch import DispatchSettings
from app.config.drift import DEFAULT_MIN_COSINE, CheckSettings
from app.config.keys import KeySettings
from app.config.loading import check, load, load_tokenizers, read
from app.config.messages import SettingsError, needs_package, unknown
from app.config.model import (
    NAMES,
    ConsoleSettings,
    DocsSettings,
    LogSettings,
    Settings,
)
from app.config.providers import ProviderKinds, ProviderSettings
from app.config.services import (
    MetricsSettings,
    NotifySettings,
    OidcSettings,
    TracingSettings,
    UsageSettings,
)

__all__ = [
    "DEFAULT_MIN_COSINE",
    "NAMES",
    "CacheSettings",
    "CheckSettings",
    "ConsoleSettings",
    "DeploymentSettings",
    "DispatchSettings",
    "DocsSettings",
    "KeySettings",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "NotifySettings",
    "OidcSettings",
    "ProviderKinds",
    "ProviderSettings",
    "Settings",
    "SettingsError",
    "TracingSettings",
    "UsageSettings",
    "check",
    "load",
    "load_tokenizers",
    "needs_package",
    "read",
    "unknown",
]
