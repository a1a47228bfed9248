"""The search as a process of its own, run to its end, killed, interrupted and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from genre_ray.checkpoint import open_checkpoint
from genre_ray.data.synthesis import compose
from genre_ray.inference import Predictor
from genre_ray.schema import Track

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]

SEARCH = {
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
    "refit": {"seeds": [1, 2]},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose(tmp_path_factory.mktemp("music") / "corpus", tracks_per_genre=8, duration_s=3.0, seed=5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def start(
    folder: Path, corpus: Path, cache: Path, *options: str, search: dict[str, object] | None = None
) -> subprocess.Popen[str]:
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(SEARCH | (search or {})), encoding="utf-8")
    command = [sys.executable, "-m", "genre_ray.tune", "--config", str(config), "--data", str(corpus)]
    return subprocess.Popen(
        [*command, "--output", str(folder / "results"), "--cache", str(cache), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def study_of(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / "results" / "tiny" / "study.journal")))
    return optuna.load_study(study_name="tiny", storage=storage)


def ended(study: optuna.Study) -> dict[int, object]:
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return {trial.number: trial.datetime_complete for trial in study.trials if trial.state in states}


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> dict[int, object]:
    journal = folder / "results" / "tiny" / "study.journal"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if journal.exists() and journal.stat().st_size:
            done = ended(study_of(folder))
            if len(done) >= count:
                return done
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"fewer than {count} trials ended: {process.communicate()[0]}")


def test_a_search_leaves_checkpoint_trials_reports_and_resolved_configuration(
    tmp_path: Path, corpus: Path, cache: Path
) -> None:
    output, _ = (process := start(tmp_path, corpus, cache)).communicate(timeout=380)
    assert process.returncode == 0, output
    folder = tmp_path / "results" / "tiny"
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 4
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["search"]["trials"] == 4
    assert "artists" in output
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
    answer = Predictor.open(folder / "best").predict(Track(id="song", audio=song))
    assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_killed_driver_resumes_and_no_finished_trial_runs_again(tmp_path: Path, corpus: Path, cache: Path) -> None:
    process = start(tmp_path, corpus, cache)
    before = wait_for_trials(tmp_path, 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    output, _ = (again := start(tmp_path, corpus, cache, "--resume")).communicate(timeout=380)
    assert again.returncode == 0, output
    study = study_of(tmp_path)
    after = ended(study)
    assert {number: after[number] for number in before} == before
    assert len(pd.read_csv(tmp_path / "results" / "tiny" / "trials.csv")) == 4
    assert not [t for t in study.trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert (tmp_path / "results" / "tiny" / "best" / "manifest.json").exists()


def test_ctrl_c_leaves_the_best_model_so_far(tmp_path: Path, corpus: Path, cache: Path) -> None:
    long = SEARCH["search"] | {"trials": 500}  # type: ignore[operator]
    process = start(tmp_path, corpus, cache, search={"search": long})
    wait_for_trials(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "go on with --resume" in output
    assert "Traceback" not in output
    best = open_checkpoint(tmp_path / "results" / "tiny" / "best")
    assert best.manifest["notes"]["fitted_on"] == "train"


def test_a_trial_that_raises_is_reported_and_the_search_goes_on(tmp_path: Path, corpus: Path, cache: Path) -> None:
    # Six halvings leave nothing of a window of 16 columns: a mistake that no single field shows.
    broken = {"model": {"kind": "cnn", "width": 4, "stages": 6}, "training": {"augment": {"crop_columns": 16}}}
    search = {
        "variants": {"flat": SEARCH["variants"]["flat"], "broken": broken},  # type: ignore[index]
        "points": [{"variant": "broken"}, {"variant": "flat"}, {"variant": "flat"}],
        "search": {"metric": "accuracy", "trials": 3, "startup_trials": 2, "retries": 1},
        "refit": {"seeds": [1]},
    }
    output, _ = (process := start(tmp_path, corpus, cache, search=search)).communicate(timeout=380)
    assert process.returncode == 0, output
    trials = pd.read_csv(tmp_path / "results" / "tiny" / "trials.csv")
    assert trials["state"].value_counts().to_dict() == {"complete": 2, "fail": 1}
    assert "trial 0 failed" in output
    assert trials.loc[trials["state"] == "fail", "error"].str.len().item() > 10


def test_a_second_search_of_the_same_name_does_not_touch_the_first(tmp_path: Path, corpus: Path, cache: Path) -> None:
    flat = {
        "variants": {"flat": SEARCH["variants"]["flat"]},  # type: ignore[index]
        "points": [],
        "search": {"metric": "accuracy", "trials": 1},
        "refit": {"seeds": [1]},
    }
    for _ in range(2):
        output, _ = (process := start(tmp_path, corpus, cache, search=flat)).communicate(timeout=380)
        assert process.returncode == 0, output
    assert (tmp_path / "results" / "tiny" / "best").is_dir()
    assert (tmp_path / "results" / "tiny-2" / "best").is_dir()
