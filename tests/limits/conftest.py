"""What the tests of keys and limits share."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _unconfigured_logs():
    """Undo `logs.configure`: an app logs to the standard output of its test alone."""
    yield
    logging.getLogger("app").handlers = []
    logging.getLogger("app").propagate = True
