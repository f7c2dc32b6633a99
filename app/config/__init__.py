"""Settings: a Python module in, frozen and checked dataclasses out.

1. `app.config.loading` runs ``app/settings.py`` and the operator's file (`app.config.overlay`).
2. Each setting is declared once, as a field of a dataclass in `app.config.model` and the modules it
   imports: type, range, default, unit and reason (`app.config.declaration`).
3. `app.config.schema` makes the marshmallow schemas of the declarations, and
   `app.config.references` the schema of all settings. All mistakes are found at once, each on a
   line that names the setting and says what would be right (`app.config.messages`).
4. `app.config.check_process` builds the whole app with the settings, in a process of its own.
5. `app.config.documentation` writes docs/settings.md and the comments of ``app/settings.py``.

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
