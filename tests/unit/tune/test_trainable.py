"""A trial alone, without a cluster: what it reports when it trains, diverges, and goes on from a saved state."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.tune

from genre_ray.clips import ClipTable
from genre_ray.config import parse
from genre_ray.errors import DivergedError
from genre_ray.training import Trainer
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.searcher import SCORE
from genre_ray.tune.trainable import TrialTrainable

FLAT: dict[str, Any] = {
    "name": "t",
    "protocol": {"name": "paper"},
    "base": {
        "inputs": {"spectrogram": None},
        "model": {"kind": "mlp", "width": 16},
        "training": {"epochs": 3, "batch_size": 8},
    },
    "search": {"metric": "accuracy", "save_every_s": 0.0},
}


def trial(
    table: ClipTable, labels: tuple[str, ...], folder: Path, *, resumes: tuple[str, ...] = (), **changes: Any
) -> TrialTrainable:
    config = parse(TuneConfig, FLAT | changes, origin="test")
    tracks = np.unique(table.track)
    parts = [(tuple(tracks[::2]), tuple(tracks[1::2])), (tuple(tracks[1::2]), tuple(tracks[::2]))]
    made = TrialTrainable.__new__(TrialTrainable)
    made.setup(
        {"number": 0, "folder": "trial_00000", "params": {}, "resumes": list(resumes)},
        table=table,
        parts=parts,
        labels=labels,
        tune_config=config.model_dump(mode="json", by_alias=True),
        trials_folder=str(folder),
    )
    return made


def test_a_trial_ends_after_its_epochs_with_the_mean_of_its_folds(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path
) -> None:
    made = trial(tiny_table, labels, tmp_path)
    results = [made.step() for _ in range(3)]
    assert [r["epoch"] for r in results] == [1, 2, 3]
    assert [r["done"] for r in results] == [False, False, True]
    folds = [fitted.history[-1].validation_accuracy for fitted in made.fitted()]
    assert results[-1][SCORE] == pytest.approx(np.mean(folds))


def test_a_diverged_trial_reports_a_finite_penalty_and_ends(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Trainer) -> None:
        raise DivergedError("the training loss is nan in epoch 1")

    made = trial(tiny_table, labels, tmp_path)
    made._trial_info = None  # a Trainable outside Tune has no name
    monkeypatch.setattr(Trainer, "run_epoch", explode)
    result = made.step()
    assert result[SCORE] == 0.0
    assert result["diverged"]
    assert result["done"]


def test_a_trial_goes_on_from_the_newest_readable_state(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path
) -> None:
    whole = trial(tiny_table, labels, tmp_path)
    expected = [whole.step()["train_loss"] for _ in range(3)]
    first = trial(tiny_table, labels, tmp_path)
    first.step()
    good = tmp_path / "trial_00000" / "checkpoint_000000"
    good.mkdir(parents=True)
    first.save_checkpoint(str(good))
    torn = tmp_path / "trial_00000" / "checkpoint_000001"
    (torn / "fold-0").mkdir(parents=True)
    (torn / "fold-0" / "trainer.pt").write_bytes(b"cut short")
    again = trial(tiny_table, labels, tmp_path, resumes=("trial_00000",))
    assert [again.step()["train_loss"] for _ in range(2)] == expected[1:]


def test_a_trial_that_was_done_when_the_driver_died_reports_its_last_epoch_again(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path
) -> None:
    made = trial(tiny_table, labels, tmp_path)
    last = [made.step() for _ in range(3)][-1]
    saved = tmp_path / "trial_00000" / "checkpoint_000002"
    saved.mkdir(parents=True)
    made.save_checkpoint(str(saved))
    again = trial(tiny_table, labels, tmp_path, resumes=("trial_00000",)).step()
    assert again["epoch"] == 3
    assert again["done"]
    assert again[SCORE] == last[SCORE]


class Storage:
    """Takes the place of Tune's storage of a trial: `refusals` saves fail before one works."""

    checkpoint_fs_path = "nowhere"

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.removed = 0
        self.storage_filesystem = self

    def delete_dir(self, path: str) -> None:
        self.removed += 1


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Tune's own saving, refused by a storage that is full."""
    storage = Storage(3)

    def save(self: TrialTrainable, checkpoint_dir: str | None = None) -> str:
        storage.refusals -= 1
        if storage.refusals >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.save_checkpoint(str(checkpoint_dir))
        return "saved"

    monkeypatch.setattr(ray.tune.Trainable, "save", save)
    monkeypatch.setattr("genre_ray.tune.trainable.time.sleep", lambda seconds: None)
    return storage


def test_a_state_that_cannot_be_saved_costs_the_state_and_not_the_trial(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path, refusing: Storage
) -> None:
    made = trial(tiny_table, labels, tmp_path)
    made._trial_info, made._storage = None, refusing
    made.step()
    assert made.save().checkpoint is None
    assert refusing.removed == 1, "what was half written is taken away"
    assert made.step()["epoch"] == 2


def test_the_last_state_is_offered_until_the_storage_takes_it(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path, refusing: Storage
) -> None:
    made = trial(tiny_table, labels, tmp_path)
    made._trial_info, made._storage = None, refusing
    while not made.step()["done"]:
        pass
    assert made.save() == "saved"
    assert refusing.removed == 3


def test_a_trial_whose_saved_state_is_damaged_begins_again(
    tiny_table: ClipTable, labels: tuple[str, ...], tmp_path: Path
) -> None:
    made = trial(tiny_table, labels, tmp_path)
    made._trial_info = None
    made.config = {"number": 0, "folder": "trial_00000", "params": {}, "resumes": []}
    expected = [made.step()["train_loss"] for _ in range(2)]
    made.save_checkpoint(str(tmp_path / "state"))
    for fold in (tmp_path / "state").rglob("trainer.pt"):
        fold.write_bytes(fold.read_bytes()[:-7])
    made.restore(str(tmp_path / "state"))
    assert [made.step()["train_loss"] for _ in range(2)] == expected
