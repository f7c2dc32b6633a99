"""Files of metrics in a directory of the test."""

import logging

import pytest

from app.observability.metrics.files import Files
from app.observability.metrics.meter import Meter


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def meter(files):
    return Meter(files, ["embed"])


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    yield
    logging.getLogger("app").handlers = []
