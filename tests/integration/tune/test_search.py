"""The search as a process of its own, run to its end, killed, interrupted and resumed."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from genre_ray.abstention import least_sure
from genre_ray.calibration import temper
from genre_ray.checkpoint import open_checkpoint
from genre_ray.data.catalog import open_catalog
from genre_ray.data.synthesis import compose
from genre_ray.inference import Predictor
from genre_ray.schema import Track

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH: dict[str, Any] = {
    "name": "tiny",
    "protocol": {"name": "artist-cv", "folds": 3, "validation_fraction": 0.3},
    "base": {"inputs": {"features": {"scaling": "standard"}}, "training": {"epochs": 6, "batch_size": 16}},
    "variants": {
        "flat": {"inputs": {"spectrogram": None}, "model": {"kind": "mlp", "width": 32}},
        "both": {
            "model": {
                "kind": "hybrid",
                "cnn": {"width": 4, "stages": 3, "hidden": 16},
                "mlp": {"width": 32},
                "hidden": 16,
            },
            "training": {"augment": {"crop_columns": 64, "test_crops": 2}},
        },
    },
    "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
    "points": [{"variant": "flat"}, {"variant": "both"}],
    "search": {"metric": "accuracy", "trials": 4, "startup_trials": 2, "save_every_s": 0.0},
    "asha": {"grace_epochs": 2, "reduction_factor": 2},
    "refit": {"seeds": [1, 2], "most_wrong": 0.62},
}


FLAT: dict[str, Any] = {
    "name": "flat",
    "protocol": {"name": "paper", "validation_fraction": 0.3},
    "base": {
        "inputs": {"spectrogram": None},
        "model": {"kind": "mlp", "width": 16},
        "training": {"epochs": 12, "batch_size": 8},
    },
    "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
    "search": {"metric": "accuracy", "trials": 4, "startup_trials": 2, "save_every_s": 0.0},
    "asha": {"grace_epochs": 4, "reduction_factor": 2},
    "refit": {"seeds": [1]},
}
"""Features only, so that a start takes no longer than it must."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose(tmp_path_factory.mktemp("music") / "corpus", tracks_per_genre=8, duration_s=3.0, seed=5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_search_leaves_checkpoint_trials_reports_and_resolved_configuration(
    new_search: Callable[..., Any], corpus: Path, cache: Path
) -> None:
    search = new_search(SEARCH, corpus, cache)
    output, folder = search.complete(), search.results
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 4
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["search"]["trials"] == 4
    assert "share an artist with training" in output
    assert "artist-cv" in output
    for page in ("report.html", "search.html"):
        text = (folder / page).read_text(encoding="utf-8")
        assert "<html" in text
        assert "http://" not in text.replace("http://www.w3.org", "")
    best = open_checkpoint(folder / "best")
    assert [member.config.training.seed for member in best.members] == [1, 2]
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    assert set(best.manifest["data"]["tracks"]) == set(split["train"]) | set(split["validation"])
    assert not set(best.manifest["data"]["tracks"]) & set(split["test"])
    assert best.manifest["metrics"]["test"]["n"] == len(split["test"])
    song = next((corpus / "genres_original").rglob("*.wav"))
    validation = open_catalog(corpus).without(set(split["train"]) | set(split["test"]))
    trial = Predictor.open(next((folder / "candidates").glob("*/fold-0")), device="cpu")
    held_out = np.stack([trial.predict(track).probabilities for track in validation.tracks])
    targets = np.array([best.labels.index(str(track.label)) for track in validation.tracks])
    expected = least_sure(temper(held_out, best.temperature), targets, most_wrong=0.62)
    assert best.manifest.get("unsure_below") == pytest.approx(expected, abs=1e-3)
    answer = Predictor.open(folder / "best").predict(Track(id="song", audio=song))
    assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_killed_driver_resumes_and_no_finished_trial_runs_again(
    new_search: Callable[..., Any], corpus: Path, cache: Path
) -> None:
    search = new_search(SEARCH, corpus, cache)
    search.start()
    before = search.wait_for_ended(2)
    search.kill()
    search.complete("--resume")
    after = search.ended()
    assert {number: after[number] for number in before} == before
    assert_whole(search, trials=4)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_a_driver_killed_again_and_again_at_random_moments_loses_no_finished_trial(
    new_search: Callable[..., Any], figures: Path, cache: Path, seed: int
) -> None:
    moments = random.Random(seed)
    search = new_search(FLAT, figures, cache)
    before: dict[int, Any] = {}
    for number in range(3):
        search.start(*(["--resume"] if number else []))
        search.wait_until(lambda trials: any(trial.state == TrialState.RUNNING for trial in trials))
        time.sleep(moments.uniform(0.0, 3.0))
        search.kill()
        after = search.ended()
        assert {number: after[number] for number in before} == before
        before = after
    search.complete("--resume")
    after = search.ended()
    assert {number: after[number] for number in before} == before
    assert_whole(search, trials=4)


def test_a_trial_whose_worker_is_killed_goes_on_and_the_search_ends_with_all_trials(
    new_search: Callable[..., Any], figures: Path, cache: Path
) -> None:
    search = new_search(FLAT, figures, cache)
    search.start()
    search.wait_until(lambda trials: bool(trials) and len(trials[0].intermediate_values) >= 3)
    os.kill(search.workers("Trainable")[0], signal.SIGKILL)
    code, output = search.end()
    assert code == 0, output
    assert output.count("started again from its last saved epoch") == 1, output
    assert "Traceback" not in output
    assert_whole(search, trials=4)
    epochs = sorted(search.trials()[0].intermediate_values)
    assert epochs == list(range(1, len(epochs) + 1))


def assert_whole(search: Any, *, trials: int) -> None:
    """Nothing is left running or queued, every trial counts once, and the winner was fitted."""
    states = [trial.state for trial in search.trials()]
    assert TrialState.RUNNING not in states
    assert TrialState.WAITING not in states
    table = pd.read_csv(search.results / "trials.csv")
    assert len(table) == trials
    assert set(table["state"]) <= {"complete", "pruned"}
    assert (search.results / "best" / "manifest.json").exists()


def test_ctrl_c_leaves_the_best_model_so_far(new_search: Callable[..., Any], corpus: Path, cache: Path) -> None:
    search = new_search(SEARCH | {"search": SEARCH["search"] | {"trials": 500}}, corpus, cache)
    search.start()
    search.wait_for_ended(2)
    search.process.send_signal(signal.SIGINT)
    code, output = search.end(120)
    assert code == 130, output
    assert "go on with --resume" in output
    assert "Traceback" not in output
    best = open_checkpoint(search.results / "best")
    assert best.manifest["notes"]["fitted_on"] == "train"


def test_a_trial_that_raises_is_reported_and_the_search_goes_on(
    new_search: Callable[..., Any], corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An installation in which nothing but support vector machines is broken: a trial finds out, no check before it.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['sklearn.svm'] = None\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    broken = {"inputs": {"spectrogram": None}, "model": {"kind": "svm"}}
    changes = {
        "variants": {"flat": SEARCH["variants"]["flat"], "broken": broken},
        "points": [{"variant": "broken"}, *({"variant": "flat", "training.learning_rate": r} for r in (2e-3, 5e-3))],
        "search": {"metric": "accuracy", "trials": 3, "startup_trials": 2, "retries": 1},
        "refit": {"seeds": [1]},
    }
    search = new_search(SEARCH | changes, corpus, cache)
    output = search.complete()
    trials = pd.read_csv(search.results / "trials.csv")
    assert trials["state"].value_counts().to_dict() == {"complete": 2, "failed": 1}
    assert "trial 0 failed" in output
    reason = trials.loc[trials["state"] == "failed", "error"].item()
    assert len(reason) > 10
    assert reason in output
    assert reason in (search.results / "trials" / "trial_00000" / "error.txt").read_text(encoding="utf-8")


def test_a_second_search_of_the_same_name_does_not_touch_the_first(
    new_search: Callable[..., Any], figures: Path, cache: Path
) -> None:
    search = new_search(FLAT | {"search": {"metric": "accuracy", "trials": 1}}, figures, cache)
    search.complete()
    first = (search.results / "best" / "manifest.json").read_bytes()
    search.complete()
    assert (search.results / "best" / "manifest.json").read_bytes() == first
    assert (search.results.with_name("flat-2") / "best").is_dir()
