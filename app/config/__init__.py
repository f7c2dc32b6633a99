"""Settings: a Python module in, frozen and checked dataclasses out.

Each setting is declared once, as a field of a dataclass. All mistakes are found at once, each on a
line that names the setting and says what would be right.

From a file to settings:

* `sections`: every setting, by its section: what it takes, its default, its unit and its reason.
* `loading`: runs ``app/settings.py`` and the operator's file.
* `schema`: makes the marshmallow schemas of the declarations; `fields`: checks of single values;
  `addresses`: checks of addresses; `messages`: the messages of mistakes.
* `settings_schema`: the schema of all settings; checks that names in them refer to something.
* `spaces`: the vector space of each model.
* `check_process`: builds the whole app with the settings, in a process of its own.
* `origins`: finds where in a file a setting comes from.
* `documentation`: writes docs/settings.md and the comments of ``app/settings.py``.

Nothing here knows Flask, requests, a provider or a running proxy, so that the check can run
anywhere: in gunicorn's master before a worker starts, in ``flask check-settings``, in a CI job.
"""

from app.config.loading import check, load, load_tokenizers, read
from app.config.messages import SettingsError, needs_package, unknown
from app.config.sections.cache_and_limits import CacheSettings, LimitSettings
from app.config.sections.deployments import DeploymentSettings, ModelSettings
from app.config.sections.dispatch import DispatchSettings
from app.config.sections.drift import DEFAULT_MIN_COSINE, CheckSettings
from app.config.sections.keys import KeySettings
from app.config.sections.model import (
    NAMES,
    ConsoleSettings,
    DocsSettings,
    LogSettings,
    Settings,
)
from app.config.sections.providers import ProviderKinds, ProviderSettings
from app.config.sections.services import (
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
