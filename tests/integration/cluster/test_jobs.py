"""A search submitted to a cluster: what travels with it, that it outlives its terminal, and what it leaves."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from genre_ray.checkpoint import open_checkpoint
from tests.integration.cluster.fake_nodes import PORTS, end_session, free_ports, is_up

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Head:
    """A cluster of one machine with its dashboard, to which jobs are submitted."""

    gcs: str
    client: str
    dashboard: str
    environment: dict[str, str]

    def run(self, *command: str, folder: Path = ROOT, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """`command`, with what a client of the cluster must know."""
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | self.environment,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text(secrets.token_hex(24), encoding="utf-8")
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    for last in (False, True):
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        short = tempfile.mkdtemp(prefix="jobs")  # a socket's path must be short, and pytest's folders are long
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
        command += [f"{name}={port}" for name, port in ports.items()]
        command += ["--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1", f"--temp-dir={short}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={200 * 2**20}"]
        # The nodes of cluster/aws.yaml have the environment's bin folder on their PATH.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (folder / "head.log").open("wb") as sink:
            process = subprocess.Popen(
                command,
                env=os.environ | environment | {"PATH": path, "OMP_NUM_THREADS": "1"},
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        try:
            if not is_up(process, folder / "head.log"):
                assert not last, (folder / "head.log").read_text(encoding="utf-8", errors="replace")[-3000:]
                continue
            yield Head(
                gcs=f"127.0.0.1:{ports['--port']}",
                client=f"ray://127.0.0.1:{ports['--ray-client-server-port']}",
                dashboard=f"http://127.0.0.1:{ports['--dashboard-port']}",
                environment=environment,
            )
            return
        finally:
            end_session(process)
            shutil.rmtree(short, ignore_errors=True)


def test_a_submitted_search_outlives_its_terminal_and_leaves_its_results(
    head: Head, tmp_path: Path, figures: Path
) -> None:
    work = travelling(tmp_path / "work")
    search = ["python", "-m", "genre_ray.tune", "--address", "auto", "--config", "tune_configs/travelled.yaml"]
    search += ["--trials", "2", "--data", str(figures), "--output", str(tmp_path), "--cache", str(tmp_path / "cache")]
    jobs = ("-m", "ray.scripts.scripts", "job")
    at = ("--address", head.dashboard)
    given = head.run(
        *jobs, "submit", *at, "--no-wait", "--submission-id", "s1", "--working-dir", ".", "--", *search, folder=work
    )
    assert given.returncode == 0, given.stdout + given.stderr
    # The terminal is gone; another one asks.
    deadline = time.monotonic() + 420
    while True:
        said = head.run(*jobs, "status", *at, "s1")
        told = (said.stdout + said.stderr).lower()  # "Job 's1' succeeded" in words, "JobStatus.SUCCEEDED" elsewhere
        if "succeeded" in told:
            break
        log = head.run(*jobs, "logs", *at, "s1").stdout
        assert "failed" not in told, log[-3000:]
        assert time.monotonic() < deadline, log[-3000:]
        time.sleep(3.0)
    log = head.run(*jobs, "logs", *at, "s1").stdout
    assert "test part, scored once, as the submitted code says" in log, "code travels"
    assert len(pd.read_csv(tmp_path / "travelled" / "trials.csv")) == 2
    assert open_checkpoint(tmp_path / "travelled" / "best").manifest["notes"]["search"] == "travelled"


def travelling(work: Path) -> Path:
    """A checkout whose code and configuration differ from what is installed here."""
    shutil.copytree(ROOT / "genre_ray", work / "genre_ray", ignore=shutil.ignore_patterns("__pycache__"))
    (work / "tune_configs").mkdir()
    config = (ROOT / "tune_configs" / "smoke.yaml").read_text(encoding="utf-8")
    # The tracks of the test have no artists.
    for old, new in (("name: smoke", "name: travelled"), ("artist-cv", "random-cv"), ("epochs: 20", "epochs: 3")):
        assert old in config
        config = config.replace(old, new)
    (work / "tune_configs" / "travelled.yaml").write_text(config, encoding="utf-8")
    outcome = work / "genre_ray" / "tune" / "outcome.py"
    text = outcome.read_text(encoding="utf-8").replace("scored once", "scored once, as the submitted code says")
    outcome.write_text(text, encoding="utf-8")
    return work


def test_a_search_through_rays_client_is_refused_with_the_way_that_works(
    head: Head, tmp_path: Path, figures: Path
) -> None:
    search = ["-m", "genre_ray.tune", "--address", head.client, "--data", str(figures), "--output", str(tmp_path)]
    done = head.run(*search)
    assert done.returncode == 2, done.stderr
    assert "ray job submit" in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
