"""The image is built once in each test process."""

import pytest

from tests.deploy.image import Image, build


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, built from the steps of its Dockerfile."""
    return build(tmp_path_factory.mktemp("image"))
