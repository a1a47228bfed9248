"""What the tests of the service share: checkpoints, a figure, a feature row, a client without a socket."""

import io
import runpy
from pathlib import Path

import httpx
import numpy as np
import pytest

from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.serve.engine import Engine
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.settings import ServeArgs
from genre_ray.serve.web import WebApplication
from genre_ray.spectrogram import figure_from_levels

# The tests are no package, so that a module beside them is run by its path.
write_checkpoint = runpy.run_path(str(Path(__file__).with_name("checkpoints.py")))["write_checkpoint"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best")


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("other") / "best", seed=1)


@pytest.fixture(scope="session")
def figure() -> bytes:
    levels = np.random.default_rng(3).integers(0, 256, (1, 128, 334), dtype=np.uint8)
    content = io.BytesIO()
    figure_from_levels(levels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="session")
def features() -> dict[str, float]:
    values = np.random.default_rng(4).normal(3, 1, len(FEATURE_COLUMNS))
    return dict(zip(FEATURE_COLUMNS, values.tolist(), strict=True))


@pytest.fixture
def args(checkpoint: Path) -> ServeArgs:
    return ServeArgs(checkpoint=str(checkpoint), device="cpu", backend="eager")


@pytest.fixture
def engine(args: ServeArgs, checkpoint: Path) -> Engine:
    return Engine(args, str(checkpoint))


@pytest.fixture
def client(engine: Engine, args: ServeArgs) -> httpx.AsyncClient:
    application = WebApplication(LocalBackend(engine), args)
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.fixture(scope="session")
def write_other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("labels") / "best", labels=("a", "b", "c"))
