"""Between Ray Tune and the study: asks Optuna for trials, tells it each epoch and how each trial ended.

Ray's own OptunaSearch tells a trial that ASHA stopped as complete and leaves a NaN trial running for ever; here the
first is pruned, and the second never arises, since a diverged trial reports a finite penalty. Knows nothing about
training.
"""

import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.space import suggest

logger = logging.getLogger(__name__)

SCORE = "score"
"""The metric that trials report to Tune: the file's metric on the validation part."""


class StudySearcher(Searcher):
    """Suggests trials from an Optuna study. The study's journal is the state; nothing is pickled."""

    def __init__(self, study: optuna.Study, config: TuneConfig) -> None:
        super().__init__(metric=SCORE, mode="min" if config.search.metric == "loss" else "max")
        self._study = study
        self._config = config
        self._trials: dict[str, optuna.Trial] = {}
        self._ended: set[str] = set()
        self._reported: dict[str, set[int]] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Tune hands metric and mode once more; the constructor has them."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The configuration of the next trial: its number in the study, its parameters, and where it goes on from."""
        trial = self._study.ask()
        params = suggest(self._config, trial)
        folder = f"trial_{trial.number:05d}"
        trial.set_user_attr(records.FOLDER, folder)
        self._trials[trial_id] = trial
        return {"number": trial.number, "folder": folder, "params": params, "resumes": self._origins(trial)}

    def _origins(self, trial: optuna.Trial) -> list[str]:
        """Folders of the trials that this one continues, the latest first: a search may be killed several times.

        Left out are those that were killed before all their parameters were drawn: whatever lies there is not theirs.
        """
        folders = []
        number = trial.user_attrs.get(records.RESUMES)
        by_number = {t.number: t for t in self._study.trials} if number is not None else {}
        while number is not None:
            earlier = by_number[number]
            if earlier.params == trial.params and records.FOLDER in earlier.user_attrs:
                folders.append(str(earlier.user_attrs[records.FOLDER]))
            number = earlier.user_attrs.get(records.RESUMES)
        return folders

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One epoch: Optuna's sampler learns from the course of stopped trials too."""
        self._report(trial_id, result)

    def _report(self, trial_id: str, result: dict[str, Any]) -> None:
        """An epoch comes twice when its trial goes on from before it, and at the end."""
        epoch, told = int(result["epoch"]), self._reported.setdefault(trial_id, set())
        if epoch not in told:
            self._trials[trial_id].report(float(result[SCORE]), step=epoch)
            told.add(epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The end: complete, pruned (stopped before its last epoch) or failed."""
        if trial_id in self._ended:
            return
        self._ended.add(trial_id)
        trial = self._trials[trial_id]
        if error or not result or SCORE not in result:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        self._report(trial_id, result)  # Tune does not hand the last epoch to on_trial_result
        trial.set_user_attr(records.METRICS, {k: v for k, v in result.items() if k in _KEPT and v is not None})
        if result.get("diverged"):
            trial.set_user_attr(records.DIVERGED, True)
        if result.get("finished"):
            self._study.tell(trial, float(result[SCORE]), state=TrialState.COMPLETE)
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def note_error(self, trial_id: str, reason: str) -> None:
        """Keep the reason why a trial failed with the trial."""
        if trial_id in self._trials:
            records.note_error(self._study, self._trials[trial_id].number, reason)

    def save(self, checkpoint_path: str) -> None:
        """Tune asks for a file; the journal holds the state."""
        Path(checkpoint_path).write_text("the state of this search is its Optuna journal\n", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search opens the journal."""


_KEPT = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "validation_macro_f1",
    "kept_epoch",
    "epoch",
    "train_seconds",
)
