"""Mistakes in settings, each with the line that names it."""

from tests.checked_settings import SECRET

URL = "must be an http:// or https:// address"
SECONDS = "must be greater than 0 and less than or equal to 3600"
CONCURRENCY = (
    "PROVIDERS['openai']['concurrency']: must be a whole number from 1, 'auto', or its bounds, "
    "for instance {'auto': [1, 64]}"
)
WRONG_CONCURRENCIES = (0, 1.5, True, "64", {"auto": 8}, {"auto": [8, 4]}, {"auto": [0, 4]}, {})
POSITIVE = "must be greater than or equal to 1"
WIDTHS = "must be True, False or a list of widths, for instance [256, 512]"
DICTIONARY = "must be a dictionary"
PRINTABLE = "must be printable ASCII: no line break, no other control character"
DIGEST = "must be the key's SHA-256 in hex (64 digits); `flask --app wsgi new-key NAME` prints one"
NO_KEY = (
    "no key may call the proxy. Set ALPHANEURAL_API_KEY to one of your choice, or "
    "add a line from `flask --app wsgi new-key NAME`"
)
STORE = (
    "must be redis://host:port/db, rediss://… (TLS), unix:///path, "
    "redis+sentinel://host:port,host:port/service or redis+cluster://host:port"
)
DATABASE = (
    "cannot be read as an address: the port must be a number, and special characters of the "
    "password must be escaped (%40 for @)"
)
PRINTABLE_NAME = "must be printable: no line break, no other control character"
KEY = {"sha256": "1" * 64}
ZONE = (
    "must be a time zone such as 'Europe/Berlin' (where the system knows none: pip install tzdata)"
)
P = ("PROVIDERS", "openai")
M = ("MODELS", "m")
D = (*M, "deployments", 0)
K = ("KEYS", "k")
TABLE = [
    (("MODELS",), None, "MODELS: must not be None"),
    (("KEYS",), None, "KEYS: must not be None"),
    (("LIMITS",), None, "LIMITS: must not be None"),
    (("LOGS",), None, "LOGS: must not be None"),
    (("DOCS",), None, "DOCS: must not be None"),
    (("DOCS",), False, f"DOCS: {DICTIONARY}"),
    (("KEYS",), [], f"KEYS: {DICTIONARY}"),
    (("CACHE",), 5, f"CACHE: {DICTIONARY}"),
    (("MODELS",), {}, "MODELS: must name at least one model"),
    (("KEYS",), {}, f"KEYS: {NO_KEY}"),
    (("PROVIDER",), {}, "PROVIDER: unknown setting (did you mean 'PROVIDERS'?)"),
    (("CACHES",), {}, "CACHES: unknown setting (did you mean 'CACHE'?)"),
    (("CACHE",), {"url": "redis://host:bad"}, f"CACHE['url']: {STORE}"),
    (("LIMITS",), {"url": "redis+sentinel://a:1,b:bad/x"}, f"LIMITS['url']: {STORE}"),
    (("USAGE",), {"url": "postgresql://me:x@host:bad/db"}, f"USAGE['url']: {DATABASE}"),
    (
        ("OIDC",),
        {"issuer": "i", "audience": "a", "jwks_url": "https://host:bad/"},
        "OIDC['jwks_url']: must be an https:// address with a number as its port",
    ),
    (
        (*K[:1], "oidc:alice"),
        KEY,
        "KEYS['oidc:alice']: must not begin with 'oidc:': so the callers of OIDC are named",
    ),
    ((*K[:1], "a\nb"), KEY, f"KEYS['a\\nb']: {PRINTABLE_NAME}"),
    ((*K[:1], "\ud800"), KEY, f"KEYS['\\ud800']: {PRINTABLE_NAME}"),
    ((*K[:1], ""), KEY, "KEYS['']: must not be empty"),
    (
        (*K[:1], "twin"),
        {"sha256": "0" * 64},
        "KEYS['twin']['sha256']: is that of 'k' too: a key has one name",
    ),
    (
        (*P[:1], "提供"),
        {"kind": "openai"},
        "PROVIDERS['提供']: must be Latin letters, digits and signs: the name is sent in a header",
    ),
    ((*P[:1], "a\tb"), {"kind": "openai"}, f"PROVIDERS['a\\tb']: {PRINTABLE_NAME}"),
    ((*P[:1], ""), {"kind": "openai"}, "PROVIDERS['']: must not be empty"),
    (("LIMITS", "timezone"), "Europe/Nowhere", f"LIMITS['timezone']: {ZONE}"),
    (("LIMITS", "timezone"), "../etc/passwd", f"LIMITS['timezone']: {ZONE}"),
    (("LIMITS", "when_away"), "deny", "LIMITS['when_away']: must be one of: allow, refuse"),
    (
        ("LIMITS", "when_away"),
        "refuse",
        "LIMITS['when_away']: needs 'url': what is counted in memory is never away",
    ),
    (("LIMITS", "timezone"), "", f"LIMITS['timezone']: {ZONE}"),
    (P, "openai", f"PROVIDERS['openai']: {DICTIONARY}"),
    (P, {}, "PROVIDERS['openai']['kind']: must be set"),
    ((*P, "kind"), None, "PROVIDERS['openai']['kind']: must not be None"),
    (
        (*P, "kind"),
        "opnai",
        "PROVIDERS['openai']['kind']: no kind 'opnai' in app/providers (did you mean 'openai'?)",
    ),
    ((*P, "base_url"), "ftp://host", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), "api.openai.com", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), "http://", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), "http://[oops", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), "http://host:port", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), "http://host:99999", f"PROVIDERS['openai']['base_url']: {URL}"),
    ((*P, "base_url"), 5, "PROVIDERS['openai']['base_url']: must be a string"),
    ((*P, "api_key"), "", "PROVIDERS['openai']['api_key']: must not be empty"),
    ((*P, "api_key"), 5, "PROVIDERS['openai']['api_key']: must be a string"),
    ((*P, "api_key"), SECRET + "\n", f"PROVIDERS['openai']['api_key']: {PRINTABLE}"),
    ((*P, "timeout"), 0, f"PROVIDERS['openai']['timeout']: {SECONDS}"),
    ((*P, "timeout"), 3601, f"PROVIDERS['openai']['timeout']: {SECONDS}"),
    ((*P, "timeout"), "soon", "PROVIDERS['openai']['timeout']: must be a number"),
    ((*P, "timeout"), True, "PROVIDERS['openai']['timeout']: must be a number"),
    (
        (*P, "timeout"),
        float("nan"),
        "PROVIDERS['openai']['timeout']: special numeric values (nan or infinity) are not "
        "permitted",
    ),
    ((*P, "connect_timeout"), -1, f"PROVIDERS['openai']['connect_timeout']: {SECONDS}"),
    ((*P, "max_inputs"), 0, f"PROVIDERS['openai']['max_inputs']: {POSITIVE}"),
    ((*P, "max_inputs"), 1.5, "PROVIDERS['openai']['max_inputs']: must be a whole number"),
    ((*P, "max_tokens"), True, "PROVIDERS['openai']['max_tokens']: must be a whole number"),
    *(((*P, "concurrency"), value, CONCURRENCY) for value in WRONG_CONCURRENCIES),
    ((*P, "merge"), "yes", "PROVIDERS['openai']['merge']: must be True or False"),
    ((*P, "proxy"), "proxy:3128", f"PROVIDERS['openai']['proxy']: {URL}"),
    ((*P, "ca_bundle"), "/no/such", "PROVIDERS['openai']['ca_bundle']: no file '/no/such'"),
    ((*P, "headers"), [], f"PROVIDERS['openai']['headers']: {DICTIONARY}"),
    ((*P, "headers"), {"X": SECRET + "\r"}, f"PROVIDERS['openai']['headers']['X']: {PRINTABLE}"),
    (
        (*P, "headers"),
        {"a b": "c"},
        "PROVIDERS['openai']['headers']['a b']: string does not match expected pattern",
    ),
    (
        (*P, "encoding"),
        "hex",
        "PROVIDERS['openai']['encoding']: must be one of: base64, float, omit",
    ),
    (
        (*P, "basurl"),
        "http://host",
        "PROVIDERS['openai']['basurl']: unknown setting (did you mean 'base_url'?)",
    ),
    (M, "x", f"MODELS['m']: {DICTIONARY}"),
    ((*M, "dimensions"), 0, f"MODELS['m']['dimensions']: {POSITIVE}"),
    (
        (*M, "dimension"),
        8,
        "MODELS['m']['dimension']: unknown setting (did you mean 'dimensions'?)",
    ),
    ((*M, "matryoshka"), [0], f"MODELS['m']['matryoshka']: {WIDTHS}"),
    ((*M, "matryoshka"), [True], f"MODELS['m']['matryoshka']: {WIDTHS}"),
    ((*M, "matryoshka"), [], f"MODELS['m']['matryoshka']: {WIDTHS}"),
    ((*M, "matryoshka"), 256, f"MODELS['m']['matryoshka']: {WIDTHS}"),
    ((*M, "deployments"), [], "MODELS['m']['deployments']: must name at least one deployment"),
    ((*M, "deployments"), {}, "MODELS['m']['deployments']: must be a list"),
    (D, "openai", f"MODELS['m']['deployments'][0]: {DICTIONARY}"),
    (
        (*D, "provider"),
        "opnai",
        "MODELS['m']['deployments'][0]['provider']: no provider 'opnai' in PROVIDERS "
        "(did you mean 'openai'?)",
    ),
    (
        (*D, "provider"),
        "zzz",
        "MODELS['m']['deployments'][0]['provider']: no provider 'zzz' in PROVIDERS "
        "(there are 'openai')",
    ),
    ((*D, "provider"), "", "MODELS['m']['deployments'][0]['provider']: must not be empty"),
    (D, {"provider": "openai"}, "MODELS['m']['deployments'][0]['model']: must be set"),
    (
        (*D, "weight"),
        1e-7,
        "MODELS['m']['deployments'][0]['weight']: must be greater than or equal to 1e-06 and less "
        "than or equal to 1000000.0",
    ),
    (
        (*D, "tier"),
        -1,
        "MODELS['m']['deployments'][0]['tier']: must be greater than or equal to 0",
    ),
    ((*D, "tier"), 1.0, "MODELS['m']['deployments'][0]['tier']: must be a whole number"),
    (
        (*D, "modle"),
        "x",
        "MODELS['m']['deployments'][0]['modle']: unknown setting (did you mean 'model'?)",
    ),
    ((*M, "pass"), "task", "MODELS['m']['pass']: must be a list"),
    ((*M, "pass"), [""], "MODELS['m']['pass'][0]: must not be empty"),
    ((*M, "passes"), [], "MODELS['m']['passes']: unknown setting (did you mean 'pass'?)"),
    (K, SECRET, f"KEYS['k']: {DICTIONARY}"),
    (K, {}, "KEYS['k']['sha256']: must be set"),
    ((*K, "sha256"), SECRET, f"KEYS['k']['sha256']: {DIGEST}"),
    ((*K, "sha256"), "0" * 63, f"KEYS['k']['sha256']: {DIGEST}"),
    ((*K, "sha256"), "0" * 64 + "\n", f"KEYS['k']['sha256']: {DIGEST}"),
    (
        (*K, "share"),
        1e-7,
        "KEYS['k']['share']: must be greater than or equal to 1e-06 and less than or equal to "
        "1000000.0",
    ),
    ((*K, "models"), "m", "KEYS['k']['models']: must be a list"),
    ((*K, "models"), [], "KEYS['k']['models']: must not be empty"),
    ((*K, "models"), ["mm"], "KEYS['k']['models'][0]: no model 'mm' in MODELS (did you mean 'm'?)"),
    (
        (*K, "models"),
        ["m", "zzz"],
        "KEYS['k']['models'][1]: no model 'zzz' in MODELS (there are '*', 'm')",
    ),
    ((*K, "requests_per_minute"), 0, f"KEYS['k']['requests_per_minute']: {POSITIVE}"),
    (("CACHE", "ttl"), 0, "CACHE['ttl']: must be greater than 0"),
    (("CACHE", "max_bytes"), 1e6, "CACHE['max_bytes']: must be a whole number"),
    (("CACHE", "scope"), "team", "CACHE['scope']: must be one of: shared, key"),
    (("CACHE", "tll"), 5, "CACHE['tll']: unknown setting (did you mean 'ttl'?)"),
    (("LIMITS", "body_bytes"), 0, f"LIMITS['body_bytes']: {POSITIVE}"),
    (("LIMITS", "input"), 5, "LIMITS['input']: unknown setting (did you mean 'inputs'?)"),
    (("DOCS", "enabled"), "no", "DOCS['enabled']: must be True or False"),
    (("DOCS", "enable"), False, "DOCS['enable']: unknown setting (did you mean 'enabled'?)"),
    (("LOGS", "format"), "xml", "LOGS['format']: must be one of: json, human"),
    (
        ("LOGS", "level"),
        "info",
        "LOGS['level']: must be one of: DEBUG, INFO, WARNING, ERROR",
    ),
]
