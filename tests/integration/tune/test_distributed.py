"""Trials on several workers: the losses of one, every epoch seen, and what a killed worker or driver costs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from optuna.trial import FrozenTrial, TrialState
from ray.util.placement_group import placement_group, remove_placement_group

from genre_ray.checkpoint import open_checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.errors import RunError, WorkerLostError
from genre_ray.tune.distributed import DistributedTrainers
from genre_ray.tune.trainers import FoldTrainers

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

LABELS = ("a", "b", "c")
TRACKS = [f"t{i:02d}" for i in range(41)]
PARTS = [(TRACKS[::2], TRACKS[1::2]), (TRACKS[1::2], TRACKS[::2])]
BUNDLES = [{"CPU": 1.0}, {"CPU": 1.0}]

SEARCH: dict[str, Any] = {
    "name": "together",
    "protocol": {"name": "paper", "validation_fraction": 0.3},
    "base": {
        "inputs": {"spectrogram": None},
        "model": {"kind": "mlp", "width": 16},
        "training": {"epochs": 30, "batch_size": 8},
    },
    "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
    "search": {"metric": "accuracy", "trials": 3, "startup_trials": 2, "save_every_s": 0.0},
    "asha": {"grace_epochs": 10, "reduction_factor": 2},
    "resources": {"workers": 2},
    "refit": {"seeds": [1]},
}


def table() -> ClipTable:
    generator = np.random.default_rng(0)
    target = np.arange(41) % 3
    return ClipTable(
        track=np.array(TRACKS),
        label=np.array(LABELS)[target],
        index=np.zeros(41, np.int32),
        start_s=np.zeros(41),
        features=generator.standard_normal((41, 57)) + target[:, None],
    )


def run(**training: Any) -> RunConfig:
    """No dropout and no batch normalisation, so that the slices of two workers make up the batch of one."""
    return parse(
        RunConfig,
        {
            "inputs": {"spectrogram": None},
            "model": {"kind": "mlp", "width": 16, "batch_norm": False, "dropout": 0.0},
            "training": {"epochs": 4, "batch_size": 8, "learning_rate": 0.003, **training},
        },
        origin="test",
    )


@pytest.fixture(scope="module")
def two_workers(ray_on_two_cores: None) -> Iterator[Callable[[], DistributedTrainers]]:
    """Gives trainers on two workers: those of before while they live, since starting them takes seconds."""
    place = placement_group(BUNDLES)
    made: list[DistributedTrainers] = []

    def give() -> DistributedTrainers:
        if not made or made[-1].closed:
            made.append(DistributedTrainers(ray.put(table()), PARTS, LABELS, bundles=BUNDLES, placement_group=place))
        return made[-1]

    yield give
    for trainers in made:
        trainers.close()
    remove_placement_group(place)


def courses(trainers: FoldTrainers | DistributedTrainers, epochs: int) -> list[list[tuple[float, float | None]]]:
    """Training and validation loss of every fold, epoch by epoch."""
    return [[(fold.last.train_loss, fold.last.validation_loss) for fold in trainers.run_epoch()] for _ in range(epochs)]


def test_two_workers_give_the_losses_of_one_and_their_state_is_a_single_workers(
    two_workers: Callable[[], DistributedTrainers], tmp_path: Path
) -> None:
    alone = FoldTrainers(table(), PARTS, LABELS, threads=1)
    alone.begin(run())
    expected = courses(alone, 4)
    together = two_workers()
    for _ in range(2):  # the second trial in the same processes is no other
        together.begin(run())
        np.testing.assert_allclose(courses(together, 2), expected[:2], atol=1e-5)
    together.save(tmp_path)
    np.testing.assert_allclose(courses(together, 2), expected[2:], atol=1e-5)
    continued = FoldTrainers(table(), PARTS, LABELS, threads=1)
    continued.begin(run())
    assert [fold.last.epoch for fold in continued.load(tmp_path)] == [2, 2]
    np.testing.assert_allclose(courses(continued, 2), expected[2:], atol=1e-5)
    for mine, theirs in zip(together.fitted(), alone.fitted(), strict=True):
        for name, weights in mine.model.state_dict().items():
            torch.testing.assert_close(weights, theirs.model.state_dict()[name], atol=1e-4, rtol=1e-3)


def test_workers_whose_batch_statistics_differ_agree_about_stopping(
    two_workers: Callable[[], DistributedTrainers],
) -> None:
    """Each keeps running means of its own slices; if each validated for itself, one would stop and the other wait."""
    trainers = two_workers()
    noisy = run(epochs=60, early_stopping=True, patience=2, learning_rate=0.03, schedule="plateau")
    trainers.begin(noisy.model_copy(update={"model": noisy.model.model_copy(update={"batch_norm": True})}))
    for _ in range(60):
        states = trainers.run_epoch()
        if all(state.finished for state in states):
            break
    assert all(state.finished for state in states)
    assert min(state.last.epoch for state in states) < 60


def test_a_killed_worker_is_noticed_at_once_and_new_ones_go_on_from_the_saved_state(
    two_workers: Callable[[], DistributedTrainers],
) -> None:
    first = two_workers()
    first.begin(run())
    courses(first, 2)
    state = first.state()
    expected = courses(first, 1)
    victim = ray.get(first._actors[1].__ray_call__.remote(lambda _: os.getpid()))
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(WorkerLostError, match="one of 2 workers was lost"):
        first.run_epoch()
    assert time.monotonic() - started < 30  # the collective call would wait for half an hour
    again = two_workers()
    again.begin(run())
    with pytest.raises(RunError, match="cannot be read"):
        again.restore({name: content[:100] for name, content in state.items()})
    again.restore(state)
    np.testing.assert_allclose(courses(again, 1), expected, atol=1e-5)


def epochs(trial: FrozenTrial) -> list[int]:
    return sorted(trial.intermediate_values)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_search_on_two_workers_survives_a_killed_worker_and_a_killed_driver(
    new_search: Callable[..., Any], figures: Path, cache: Path
) -> None:
    search = new_search(SEARCH, figures, cache)
    search.start()
    search.wait_until(lambda trials: bool(trials) and len(trials[0].intermediate_values) >= 3)
    os.kill(search.workers("TrainingWorker")[0], signal.SIGKILL)
    before = search.wait_for_ended(1)
    assert "trial 0 started again from its last saved epoch, after: " in search.output()
    search.wait_until(lambda trials: len(trials) > 1 and len(trials[-1].intermediate_values) >= 3)
    search.kill()
    interrupted = [trial for trial in search.trials() if trial.state == TrialState.RUNNING]
    output = search.complete("--resume")
    assert "go on from their last saved epoch" in output
    trials = search.trials()
    after = search.ended()
    assert {number: after[number] for number in before} == before
    assert epochs(trials[0]) == list(range(1, len(epochs(trials[0])) + 1)), "ASHA saw every epoch"
    for trial in trials:
        if "resumes" in trial.user_attrs:
            assert epochs(trial)[0] > 1, "went on, and did not begin anew"
    assert interrupted
    assert set(pd.read_csv(search.results / "trials.csv")["state"]) <= {"complete", "pruned"}
    assert len(pd.read_csv(search.results / "trials.csv")) == 3
    assert open_checkpoint(search.results / "best").manifest["metrics"]["test"]["n"] > 0
    assert list((search.results / "candidates").iterdir()), "the winner's own weights were found"
