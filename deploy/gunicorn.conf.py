"""The gunicorn configuration for a checkout: ``gunicorn -c deploy/gunicorn.conf.py wsgi:app``.

The settings and hooks are in `app/server/configuration.py`, so that the wheel has them too
(``embeddings-proxy serve``). A setting written below the import overrides the one imported.

gunicorn's master runs this file before its workers patch the standard library for gevent. Nothing
imported here may import requests, urllib3 or ssl: patched later, their sockets would block.
"""

import importlib

from app.server import configuration

importlib.reload(configuration)  # at a SIGHUP gunicorn runs this file again
from app.server.configuration import *  # noqa: E402, F403 - gunicorn reads the names from this file
