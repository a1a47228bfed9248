"""Storage and machines that fail under a search: what is broken is real, and afterwards the trials are counted."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.cluster_utils import Cluster

from genre_ray.tune.mirror import Mirror
from tests.integration.cluster.fake_nodes import free_ports
from tests.integration.processes import parents, title

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

TRIALS = 4
SEARCH: dict[str, Any] = {
    "name": "hard",
    "protocol": {"name": "paper", "validation_fraction": 0.3},
    "base": {
        "inputs": {"spectrogram": None},
        "model": {"kind": "mlp", "width": 16},
        "training": {"epochs": 120, "batch_size": 8},
    },
    "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
    "search": {"metric": "accuracy", "trials": TRIALS, "startup_trials": TRIALS, "save_every_s": 0.0},
    "asha": None,
    "refit": {"seeds": [1]},
}
"""Features only, so that a start takes no longer than it must; epochs enough for something to happen in a trial."""

New = Callable[..., Any]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def in_the_middle(trials: list[FrozenTrial]) -> bool:
    """A trial runs, has saved states, and is far from its end."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    return any(5 <= len(trial.intermediate_values) <= 60 for trial in running)


def assert_whole(search: Any, before: dict[int, Any]) -> None:
    """What had ended is as it was, nothing is left over, every trial counts once, and the winner was fitted."""
    after = search.ended()
    assert {number: after[number] for number in before} == before, "a finished trial was lost or run again"
    assert not [trial for trial in search.trials() if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    table = pd.read_csv(search.results / "trials.csv")
    assert len(table) == TRIALS
    assert set(table["state"]) == {"complete"}
    assert (search.results / "best" / "manifest.json").exists()
    assert "Traceback" not in search.output()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes with one each: three raylets on this machine."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def test_a_node_killed_in_the_middle_of_a_search_costs_epochs_and_no_trial(
    new_search: New, figures: Path, cache: Path, cluster: Cluster
) -> None:
    search = new_search(SEARCH, figures, cache)
    search.start("--address", cluster.address)
    search.wait_until(in_the_middle)
    busy = [node for node in cluster.worker_nodes if trials_on(node)]
    cluster.remove_node(busy[0], allow_graceful=False)
    before = search.ended()
    time.sleep(2.0)
    cluster.add_node(num_cpus=1)
    code, output = search.end()
    assert code == 0, output
    assert output.count("started again from its last saved epoch, after: ") >= 1, output
    assert_whole(search, before)
    for trial in search.trials():
        assert sorted(trial.intermediate_values) == list(range(1, 121)), "ASHA and Optuna saw every epoch once"


def trials_on(node: Any) -> list[int]:
    """Processes of trials on a node, which are its raylet's children."""
    raylet = node.all_processes["raylet"][0].process.pid
    return [pid for pid, parent in parents().items() if parent == raylet and "Trainable" in title(pid)]


@pytest.mark.soak
def test_a_driver_killed_five_times_at_any_moment_of_its_life_loses_no_finished_trial(
    new_search: New, figures: Path, cache: Path
) -> None:
    moments = random.Random(2026)
    search = new_search(SEARCH, figures, cache)
    before: dict[int, Any] = {}
    for _ in range(5):
        search.start("--resume-or-start")
        with suppress(subprocess.TimeoutExpired):
            search.process.wait(moments.uniform(0.0, 20.0))  # from before Ray is up to the final fit
        search.kill()
        after = search.ended()
        assert {number: after[number] for number in before} == before
        before = after
    search.complete("--resume-or-start")
    assert_whole(search, before)
    assert [path.name for path in search.results.parent.glob("hard*")] == ["hard"], "all of them in one folder"


def test_damaged_states_are_passed_over_when_a_search_is_resumed(new_search: New, figures: Path, cache: Path) -> None:
    search = new_search(SEARCH, figures, cache)
    search.start()
    search.wait_until(in_the_middle)
    search.kill()
    before = search.ended()
    states = settled_states(search.results / "trials")
    assert states
    for number, state in enumerate(states):
        content = bytearray(state.read_bytes())
        content[len(content) // 2] ^= 1
        # A flipped bit, and a file that the machine had no time to write.
        state.write_bytes(bytes(content) if number % 2 else bytes(content[: len(content) // 3]))
    output = search.complete("--resume")
    assert "go on from their last saved epoch" in output
    assert_whole(search, before)
    resumed = [trial for trial in search.trials() if "resumes" in trial.user_attrs]
    assert resumed
    for trial in resumed:
        assert sorted(trial.intermediate_values) == list(range(1, 121)), "began again: no damaged state was used"


def settled_states(trials: Path) -> list[Path]:
    """The saved states once no more of them come: workers outlive a killed driver by a moment, and save in it."""
    states: list[Path] = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = sorted(trials.glob("trial_*/checkpoint_*/fold-0/trainer.pt"))
        if found == states:
            break
        states = found
        time.sleep(5.0)
    return states


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_in_the_middle_of_a_search_costs_epochs_and_no_trial(
    new_search: New, figures: Path, cache: Path, small_disk: Path
) -> None:
    search = new_search(SEARCH, figures, cache)
    (search.folder / "results").symlink_to(small_disk)
    search.start()
    search.wait_until(in_the_middle)
    ballast = small_disk / "ballast"
    fill(ballast)
    code, output = search.end()
    before = search.ended()
    assert code == 2, output
    assert "No space left on device" in output.splitlines()[-1]
    assert "go on with --resume" in output.splitlines()[-1]
    assert "Traceback" not in output
    ballast.unlink()
    search.complete("--resume")
    assert_whole(search, before)


def fill(path: Path) -> None:
    """To the last byte."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator["Bucket"]:
    pytest.importorskip("moto.server", reason="needs moto[server]", exc_type=ImportError)
    made = Bucket(free_ports(1)[0])
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{made.port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    made.start()
    import boto3

    boto3.client("s3").create_bucket(Bucket="music")
    yield made
    made.stop()


class Bucket:
    """s3://music, served by moto: stopped, it refuses connections; started again, it holds what it held."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: Any = None

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.mark.soak
def test_shared_storage_that_is_away_for_a_while_costs_no_trial(
    new_search: New, figures: Path, cache: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each attempt to save takes seconds while the storage is away.
    search = new_search(SEARCH | {"search": SEARCH["search"] | {"save_every_s": 10.0}}, figures, cache)
    monkeypatch.setenv("GENRE_RAY_CACHE", str(search.folder / "working-copies"))
    search.results = Mirror.of("s3://music/results").root / "hard"  # the driver's working copy
    search.start("--output", "s3://music/results")
    search.wait_until(in_the_middle)
    bucket.stop()
    before = search.ended()
    # A trial ends while there is nowhere to put anything; until that is said, S3's own attempts may bridge the gap.
    search.wait_until(lambda _: "cannot be reached, the search goes on" in search.output())
    bucket.start()
    code, output = search.end()
    assert code == 0, output
    assert output.count("cannot be reached, the search goes on and uploads later") == 1, output
    assert "can be reached again, everything is uploaded" in output
    assert_whole(search, before)


SPILLED = """
import io, json, sys
import numpy as np, ray
from ray._private.internal_api import memory_summary
from genre_ray.tune.config import load
from genre_ray.tune.run import search

config, data, output, cache = sys.argv[1:5]
ray.init(address="local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
held = []
if sys.argv[5] == "full":
    held = [ray.put(np.full(2_500_000, number, np.int64)) for number in range(12)]  # 240 MB
outcome = search(load(config), data=data, output=output, cache=cache, stream=io.StringIO())
spilled = "Spilled" in memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
whole = all((ray.get(one) == number).all() for number, one in enumerate(held))
print("RESULT", json.dumps({"spilled": spilled, "whole": whole}))
"""


@pytest.mark.soak
def test_a_search_in_an_object_store_that_spills_has_the_scores_of_one_with_room(
    new_search: New, figures: Path, cache: Path, tmp_path: Path
) -> None:
    scores = []
    for state in ("empty", "full"):
        search = new_search(SEARCH, figures, cache)
        config = search.write()
        done = subprocess.run(
            [sys.executable, "-c", SPILLED, str(config), str(figures), str(search.results.parent), str(cache), state],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=280,
            check=False,
        )
        (search.folder / "output.txt").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f'"spilled": {str(state == "full").lower()}' in done.stdout, done.stdout
        assert '"whole": true' in done.stdout
        assert_whole(search, {})
        scores.append([trial.intermediate_values for trial in search.trials()])
    assert scores[0] == scores[1]
