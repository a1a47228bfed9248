"""What all tests share: nothing is left in the checkout."""

import tempfile

import pytest
from hypothesis.configuration import set_hypothesis_home_dir


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis would keep examples, and constants with the paths of their modules, where the tests are called."""
    folder = tempfile.TemporaryDirectory(prefix="genre-ray-hypothesis-")
    set_hypothesis_home_dir(folder.name)
    config.add_cleanup(folder.cleanup)
