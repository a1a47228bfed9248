"""A trial: one epoch of training a step, on tracks that lie in the object store.

Knows nothing about Optuna, or how parameters are chosen.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import ray.tune
from ray.train._internal.session import _TrainingResult
from ray.tune.result import SHOULD_CHECKPOINT

from genre_ray.clips import Clips
from genre_ray.errors import DivergedError, WorkerLostError
from genre_ray.training import EpochResult, Fitted
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.mirror import fetched
from genre_ray.tune.searcher import SCORE
from genre_ray.tune.trainers import FoldState, FoldTrainers, Parts, Trainers

logger = logging.getLogger(__name__)

_LAST_SAVE_S = 60.0
"""How long the state of a trial that has ended is offered to storage that does not take it."""


class TrialTrainable(ray.tune.Trainable):
    """Trains one configuration, on one validation part or on several folds in step with each other.

    Actors are reused: the next trial in the same process skips starting Python and importing torch.
    """

    def setup(  # type: ignore[override]  # with_parameters passes the rest by keyword
        self,
        config: dict[str, Any],
        *,
        table: Clips,
        parts: Parts,
        labels: Sequence[str],
        tune_config: dict[str, Any],
        trials_folder: str,
    ) -> None:
        """Cut the folds once for this process and begin the trial."""
        self._tune_config = TuneConfig.model_validate(tune_config)
        threads = max(1, int(self._tune_config.resources.cpus))
        self._open(FoldTrainers(table, parts, labels, threads=threads), labels, trials_folder)
        self._begin(config)

    def _open(self, trainers: Trainers, labels: Sequence[str], trials_folder: str) -> None:
        self._trainers = trainers
        self._labels = tuple(labels)
        self._trials_folder = trials_folder

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this warm process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._run = self._tune_config.resolve(config["params"])
        self._trainers.begin(self._run)
        self._last: dict[str, Any] | None = None
        self._saved_at = time.monotonic()
        for folder in config["resumes"]:
            if self._continue_from(fetched(f"{self._trials_folder}/{folder}")):
                break

    def _continue_from(self, folder: Path) -> bool:
        """Go on from the newest readable state of an earlier trial; a state cut short by a crash is passed over."""
        for saved in sorted(folder.glob("checkpoint_*"), reverse=True):
            try:
                self.load_checkpoint(str(saved))
            except Exception as error:  # any damage is possible after a crash, and none of it may end the trial
                logger.warning("%s cannot be resumed from (%s); trying an earlier state", saved, error)
                self._trainers.begin(self._run)  # a part of the folds may have been loaded
            else:
                return True
        return False

    def step(self) -> dict[str, Any]:
        """One epoch of every fold; the mean of their figures."""
        if self._last is not None and self._last["finished"]:
            return self._last  # resumed from its last epoch: only the report was lost
        try:
            folds = self._trainers.run_epoch()
        except DivergedError as error:
            logger.warning("%s: %s", self.trial_name, error)
            return self._penalty()
        self._last = self._summary(folds)
        return self._with_checkpoint_request(self._last)

    def _summary(self, folds: Sequence[FoldState]) -> dict[str, Any]:
        results, kept = [fold.last for fold in folds], [fold.kept for fold in folds]
        finished = all(fold.finished for fold in folds)
        figures = {name: _mean(results, name) for name in _FIGURES}
        score = float(np.mean([getattr(result, f"validation_{self._tune_config.search.metric}") for result in kept]))
        return {
            **figures,
            SCORE: score,
            "epoch": max(result.epoch for result in results),
            "kept_epoch": round(float(np.mean([result.epoch for result in kept]))),
            "finished": finished,
            "diverged": False,
            "done": finished,
        }

    def _penalty(self) -> dict[str, Any]:
        """A finite score, since a NaN would leave the study with a trial that never ends."""
        worst = 10.0 * np.log(len(self._labels)) if self._tune_config.search.metric == "loss" else 0.0
        epoch = self._last["epoch"] + 1 if self._last else 1
        return {SCORE: float(worst), "epoch": epoch, "finished": True, "diverged": True, "done": True}

    def _with_checkpoint_request(self, result: dict[str, Any]) -> dict[str, Any]:
        due = time.monotonic() - self._saved_at >= self._tune_config.search.save_every_s
        if due or result["finished"]:
            self._saved_at = time.monotonic()
            return {**result, SHOULD_CHECKPOINT: True}
        return result

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Tune's own, but a full disk, or storage that is away, costs a saved state and not the trial."""
        deadline = time.monotonic() + (_LAST_SAVE_S if self._last is not None and self._last["finished"] else 0.0)
        while True:
            try:
                with tempfile.TemporaryDirectory(prefix="genre-ray-") as folder:
                    return super().save(checkpoint_dir or folder)
            except (OSError, RuntimeError) as error:  # Tune raises RuntimeError where its marker in the storage is gone
                logger.warning("the state of %s cannot be saved: %s", self.trial_name, error)
                self._remove_torn()
                if time.monotonic() > deadline:
                    return _TrainingResult(checkpoint=None, metrics={})
                time.sleep(2.0)

    def _remove_torn(self) -> None:
        """What was written before the disk was full would stay there for good: Tune does not know of it."""
        assert self._storage is not None  # Tune gives every trial a storage
        with suppress(OSError):
            self._storage.storage_filesystem.delete_dir(self._storage.checkpoint_fs_path)

    def restore(self, checkpoint_path: Any) -> None:
        """Tune's own, for a trial whose worker was lost; from its beginning where the saved state is damaged or gone.

        Tune itself would try the same state again until the trial has failed for good.
        """
        try:
            super().restore(checkpoint_path)
        except WorkerLostError:
            raise
        except Exception as error:  # any damage is possible after a crash, and none of it may end the trial
            logger.warning("%s cannot go on from its saved state (%s); it begins again", self.trial_name, error)
            self._begin(self.config)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The state of every fold's trainer."""
        self._trainers.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Go on where `save_checkpoint` left off."""
        self._last = self._summary(self._trainers.load(Path(checkpoint_dir)))

    def cleanup(self) -> None:
        """Tune has no more trials for this process."""
        self._trainers.close()

    def fitted(self) -> list[Fitted]:
        """The models as they stand, one a fold."""
        return self._trainers.fitted()


_FIGURES = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_macro_f1",
    "learning_rate",
)


def _mean(results: Sequence[EpochResult], name: str) -> float | None:
    values = [getattr(result, name) for result in results]
    return None if any(value is None for value in values) else float(np.mean(values))
