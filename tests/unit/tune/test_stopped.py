"""A search that stops before its end: what it leaves in `best/`, and what it says."""

from pathlib import Path

import numpy as np
import optuna
import pytest

from genre_ray import checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import parse
from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split
from genre_ray.errors import RunError
from genre_ray.schema import Track
from genre_ray.training import Trainer, fit
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.corpus import Corpus
from genre_ray.tune.final import finish
from genre_ray.tune.folds import search_parts
from genre_ray.tune.outcome import BEST
from genre_ray.tune.winners import save_best_so_far

CONFIG = parse(
    TuneConfig,
    {
        "name": "x",
        "protocol": {"name": "paper"},
        "base": {
            "inputs": {"spectrogram": None},
            "model": {"kind": "mlp", "width": 16},
            "training": {"epochs": 2},
        },
        "search": {"time_budget": "5s"},
    },
    origin="test",
)


@pytest.fixture(scope="module")
def corpus(tiny_table: ClipTable, labels: tuple[str, ...]) -> Corpus:
    tracks = tuple(str(track) for track in np.unique(tiny_table.track))
    split = Split("paper", tracks[::3], tracks[1::3], tracks[2::3])
    catalog = Catalog(tuple(Track(id=t, label=t.split(".")[0]) for t in tracks), labels, (), "memory", "folders")
    return Corpus(catalog, tiny_table, split, tuple(search_parts(CONFIG, catalog, split)))


def running(folder: Path, corpus: Corpus) -> optuna.Study:
    """A search that was cut off after an epoch of its only trial, whose state is saved."""
    study = records.open_study(folder, CONFIG)
    trial = study.ask()
    trial.set_user_attr(records.FOLDER, "trial_00000")
    trial.report(0.5, step=1)
    ((train, validation),) = corpus.parts
    trainer = Trainer(
        CONFIG.resolve({}), corpus.table.part(train), corpus.table.part(validation), labels=corpus.catalog.labels
    )
    trainer.run_epoch()
    trainer.save(folder / "trials" / "trial_00000" / "checkpoint_000000" / "fold-0")
    return study


def fitted_on(folder: Path) -> str:
    return str(checkpoint.open_checkpoint(folder / BEST).manifest["notes"]["fitted_on"])


def test_a_budget_that_ends_before_any_trial_leaves_the_best_so_far_and_asks_for_a_longer_one(
    tmp_path: Path, corpus: Corpus
) -> None:
    running(tmp_path, corpus)
    with pytest.raises(RunError, match=r"no trial came to its end; found: 1 cut off; .*/best; .*--time-budget than 5s"):
        finish(CONFIG, corpus, tmp_path)
    assert fitted_on(tmp_path) == "train"


def test_without_any_trial_there_is_nothing_to_leave(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(RunError, match=r"found: no trial; remedy"):
        finish(CONFIG, corpus, tmp_path)
    assert not (tmp_path / BEST).exists()


def test_a_failed_trial_sends_to_its_trace(tmp_path: Path, corpus: Corpus) -> None:
    study = records.open_study(tmp_path, CONFIG)
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    with pytest.raises(RunError, match=r"found: 1 failed; remedy: look into .*error\.txt"):
        finish(CONFIG, corpus, tmp_path)


def test_an_interrupt_keeps_the_checkpoint_of_a_search_that_was_finished_before(tmp_path: Path, corpus: Corpus) -> None:
    study = running(tmp_path, corpus)
    both = corpus.split.train + corpus.split.validation
    final = fit(CONFIG.resolve({}), corpus.table.part(both), labels=corpus.catalog.labels)
    checkpoint.save(tmp_path / BEST, [final], metrics={"test": {}}, data={}, notes={"fitted_on": "train + validation"})
    assert save_best_so_far(CONFIG, corpus, study, tmp_path) == tmp_path / BEST
    assert fitted_on(tmp_path) == "train + validation"


def test_an_interrupt_replaces_what_an_earlier_one_left(tmp_path: Path, corpus: Corpus) -> None:
    study = running(tmp_path, corpus)
    assert save_best_so_far(CONFIG, corpus, study, tmp_path) == tmp_path / BEST
    first = (tmp_path / BEST / "manifest.json").stat().st_mtime_ns
    assert save_best_so_far(CONFIG, corpus, study, tmp_path) == tmp_path / BEST
    assert (tmp_path / BEST / "manifest.json").stat().st_mtime_ns > first
