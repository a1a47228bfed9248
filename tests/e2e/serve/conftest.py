"""The service without Ray on a free port, and a real Chromium to look at its page."""

import runpy
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from genre_ray.serve.engine import Engine
from genre_ray.serve.gate import Gate
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.settings import Limits, ServeArgs
from genre_ray.serve.tokens import Tokens
from genre_ray.serve.web import WebApplication

ROOT = Path(__file__).parents[3]


class Running:
    """A uvicorn server in a thread; `stop` closes its port at once."""

    def __init__(self, application: WebApplication) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(application, host="127.0.0.1", port=self.port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    write = runpy.run_path(str(ROOT / "tests/unit/serve/checkpoints.py"))["write_checkpoint"]
    path = write(tmp_path_factory.mktemp("page") / "best")
    engine = Engine(ServeArgs(checkpoint=str(path), device="cpu", unsure_below=0.999), str(path))
    engine.warm_audio()  # as a replica does: on a fresh machine the loops are compiled now
    return engine


@pytest.fixture
def running(engine: Engine) -> Iterator[Running]:
    server = Running(WebApplication(LocalBackend(engine), engine.args))
    yield server
    server.stop()


@pytest.fixture
def guarded(engine: Engine) -> Iterator[Running]:
    args = engine.args.model_copy(update={"limits": Limits(max_audio_bytes=300_000)})
    application = WebApplication(
        LocalBackend(Engine(args, engine.checkpoint)),
        args,
        gate=Gate(args.security, Tokens(["a token for the page"]), token_required=True),
    )
    server = Running(application)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def attacks() -> SimpleNamespace:
    """The module beside this file: the tests are no package."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("attacks.py"))))


@pytest.fixture(scope="module")  # no longer: while Playwright is open, this thread has an event loop that runs
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", *microphone])
        yield launched
        launched.close()
