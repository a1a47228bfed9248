"""A search as a process of its own: watched through its journal, killed in parts or as a whole, resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from tests.integration.processes import below, title

PATIENCE_S = 240.0


def _heed_interrupts() -> None:
    """Tests that run in the background of a shell ignore SIGINT, and their children would with them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Search:
    """The search `config` on `data`, in `folder`; one process at a time."""

    def __init__(self, folder: Path, config: Mapping[str, Any], data: Path, cache: Path) -> None:
        self.folder = folder
        self.results = folder / "results" / str(config["name"])
        self._config, self._data, self._cache = dict(config), data, cache
        self._log = folder / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self) -> Path:
        """The search file."""
        path = self.folder / "search.yaml"
        path.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        return path

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "genre_ray.tune", "--config", str(self.write()), "--data", str(self._data)]
        command += ["--output", str(self.folder / "results"), "--cache", str(self._cache), *options]
        with self._log.open("wb") as log:  # a file, since nobody would empty a pipe while the test waits
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                preexec_fn=_heed_interrupts,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def end(self, timeout_s: float = 380.0) -> tuple[int, str]:
        """Wait for the end; exit code and output."""
        return self.process.wait(timeout=timeout_s), self.output()

    def complete(self, *options: str) -> str:
        """From start to end, which must be a good one; the output."""
        self.start(*options)
        code, output = self.end()
        assert code == 0, output
        return output

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def trials(self) -> list[FrozenTrial]:
        """What the journal says now; nothing while there is none."""
        journal = self.results / "study.journal"
        if not journal.exists() or not journal.stat().st_size:
            return []
        storage = JournalStorage(JournalFileBackend(str(journal)))
        names = optuna.get_all_study_names(storage)
        return optuna.load_study(study_name=names[0], storage=storage).trials if names else []

    def ended(self) -> dict[int, Any]:
        """Trials that are complete or pruned, and when they ended."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return {trial.number: trial.datetime_complete for trial in self.trials() if trial.state in states}

    def wait_until(self, condition: Callable[[list[FrozenTrial]], bool]) -> None:
        """Until the journal fulfils `condition`; fails when the process ends before."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.trials()):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def wait_for_ended(self, count: int) -> dict[int, Any]:
        self.wait_until(lambda _: len(self.ended()) >= count)
        return self.ended()

    def workers(self, name: str) -> list[int]:
        """Ids of the search's own processes whose title holds `name`, such as `TrainingWorker`."""
        return [pid for pid in below(self.process.pid) if name in title(pid)]


@pytest.fixture
def new_search(tmp_path: Path) -> Iterator[Callable[[Mapping[str, Any], Path, Path], Search]]:
    """Makes searches, each in a folder of its own, that do not outlive the test."""
    made: list[Search] = []

    def make(config: Mapping[str, Any], data: Path, cache: Path) -> Search:
        folder = tmp_path / f"search-{len(made)}"
        folder.mkdir()
        made.append(Search(folder, config, data, cache))
        return made[-1]

    yield make
    for search in made:
        if search._process is not None and search._process.poll() is None:
            search.kill()
