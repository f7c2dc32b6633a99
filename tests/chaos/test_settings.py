"""Mistakes in the settings, each with a SIGHUP under load: each is named, no request is lost."""

import json
import signal

from tests.support.server import eventually

REFUSED = "Not reloading, the settings are wrong: "
DIGEST = "'1' * 64"
#: What is added to good settings, and what the log has to name.
MISTAKES = {
    "USAGE = {'url': 'postgresql://a:b@127.0.0.1:bad/x'}": "USAGE['url']: ",
    "USAGE = {'url': 'mysql://x/y'}": "USAGE['url']: ",
    "USAGE = {'ur': 'sqlite:////tmp/x'}": "did you mean 'url'?",
    "USAGE = {'url': ''}": "USAGE['url']: ",
    "USAGE = 5": "USAGE: ",
    "LIMIT = {}": "did you mean 'LIMITS'?",
    "USAGES = {}": "did you mean 'USAGE'?",
    "BLOCKED_KEY = ['x']": "did you mean 'BLOCKED_KEYS'?",
    "BLOCKED_KEYS = [5]": "BLOCKED_KEYS[0]: ",
    "CACHES = {}": "did you mean 'CACHE'?",
    "PROVIDER = {}": "did you mean 'PROVIDERS'?",
    "KEY = {}": "did you mean 'KEYS'?",
    "MODEL = {}": "did you mean 'MODELS'?",
    "GIB = 2**30": "GIB: ",
    "LIMITS = {'url': 'redis://h:bad'}": "LIMITS['url']: ",
    "LIMITS = {'url': 'http://h'}": "LIMITS['url']: ",
    "LIMITS = {'timezone': 'Mars/Olympus'}": "LIMITS['timezone']: ",
    "LIMITS = {'when_away': 'refuse'}": "LIMITS['when_away']: ",
    "LIMITS = {'inputs': 0}": "LIMITS['inputs']: ",
    "LIMITS = {'waitng': 3}": "did you mean 'waiting'?",
    "LIMITS = None": "LIMITS: ",
    "CACHE = {'url': 'redis://'}": "CACHE['url']: ",
    "CACHE = {'ttl': 0}": "CACHE['ttl']: ",
    "CACHE = {'scope': 'x'}": "CACHE['scope']: ",
    "CACHE = {'namespace': 'a b'}": "CACHE['namespace']: ",
    "KEYS = 5": "KEYS: ",
    "KEYS = {'a': {}}": "KEYS['a']['sha256']: ",
    f"KEYS = {{'a': {{'sha256': {DIGEST}}}, 'b': {{'sha256': {DIGEST}}}}}": "KEYS['b']['sha256']: ",
    f"KEYS = {{'': {{'sha256': {DIGEST}}}}}": "KEYS['']: ",
    f"KEYS = {{'oidc:x': {{'sha256': {DIGEST}}}}}": "KEYS['oidc:x']: ",
    f"KEYS = {{'a\\tb': {{'sha256': {DIGEST}}}}}": "KEYS['a\\tb']: ",
    f"KEYS = {{'a': {{'sha256': {DIGEST}, 'models': ['x']}}}}": "KEYS['a']['models'][0]: ",
    f"KEYS = {{'a': {{'sha256': {DIGEST}, 'tokens_per_dya': 1}}}}": "'tokens_per_day'?",
    "PROVIDERS['提供'] = {'kind': 'openai'}": "PROVIDERS['提供']: ",
    "PROVIDERS = {'provider-0': {'kind': 'opnai'}}": "did you mean 'openai'?",
    "PROVIDERS = {'q': {'kind': 'openai'}}": "no provider 'provider-0' in PROVIDERS",
    "PROVIDERS['provider-0']['base_url'] = 'ftp://x'": "PROVIDERS['provider-0']['base_url']: ",
    "PROVIDERS['provider-0']['timeout'] = 0": "PROVIDERS['provider-0']['timeout']: ",
    "MODELS = {}": "MODELS: ",
    "MODELS['chaos']['tokenizer'] = 'nope'": "MODELS['chaos']['tokenizer']: ",
    "MODELS['chaos']['deployments'][0]['weight'] = 0": "['weight']: ",
    "MODELS['chaos']['dimensions'] = 'x'": "MODELS['chaos']['dimensions']: ",
    "OIDC = {'issuer': 'i', 'audience': 'a', 'jwks_url': 'http://x/y'}": "OIDC['jwks_url']: ",
    "OIDC = {'issuer': 'i', 'audience': 'a', 'jwks_url': 'https://h:bad/'}": "OIDC['jwks_url']: ",
    "TRACING = {'endpoint': 'x'}": "TRACING['endpoint']: ",
    "TRUSTED_PROXIES = ['10.0.0.1/8']": "TRUSTED_PROXIES[0]: ",
    "METRICS = {'allowed': ['x']}": "METRICS['allowed'][0]: ",
    "import sys\nsys.exit(0)": "the file ends the process",
    "import os\nos._exit(0)": "ended early (exit status 0)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)": "ended early (signal 9)",
    "raise KeyboardInterrupt": "ended early",
    "input()": "EOFError",
    "open('/run/secrets/none')": "cannot open '/run/secrets/none'",
    "import os\nos.environ['NOT_SET']": "KeyError: 'NOT_SET': set this environment variable",
    "x = (": "'(' was never closed",
    "1 / 0": "ZeroDivisionError",
    "import no_such_module": "No module named 'no_such_module'",
}


def refusals(proxy) -> list[str]:
    """What the log says of settings that were not taken."""
    lines = [json.loads(line)["message"] for line in proxy.stderr().splitlines() if REFUSED in line]
    return [line.removeprefix(REFUSED) for line in lines]


def test_each_mistake_is_named_and_no_request_is_lost(stack, note):
    running = stack()
    proxy = running.proxy
    workers = eventually(lambda: len(proxy.workers()) == 2 and proxy.workers(), 20)
    with running.callers(4) as load:
        for number, (text, named) in enumerate(MISTAKES.items()):
            running.file.write_text(f"{running.good}\n{text}\n")
            proxy.process.send_signal(signal.SIGHUP)
            eventually(lambda n=number: len(refusals(proxy)) > n, 60, text)
            assert named in refusals(proxy)[-1]
    books = running.books.compare()
    note(mistakes=len(MISTAKES), **load.seen(), **books.noted())
    assert len(MISTAKES) >= 50
    assert proxy.workers() == workers
    assert load.lost == []
    assert books.differences() == {}
