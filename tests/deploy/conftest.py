"""The image is built once for all tests that a process runs."""

import pytest

from tests.deploy.image import Image, build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, as its Dockerfile makes it."""
    return build(tmp_path_factory.mktemp("image"))
