"""The study: Optuna's journal file, the one record of a search that survives whatever happens to the driver.

Optuna writes each suggestion, each epoch's score and each outcome to the file before the search goes on, so resuming
reads the file and needs no pickled state. Knows nothing about Ray.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from genre_ray.errors import RunError
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.space import sampler

logger = logging.getLogger(__name__)

JOURNAL = "study.journal"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_WORDS = {TrialState.FAIL: "failed"}  # others are called as Optuna calls them

# Names of the attributes that a trial carries in the study.
RESUMES = "resumes"
FOLDER = "folder"
DIVERGED = "diverged"
METRICS = "metrics"
ERROR = "error"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process. RunError when another search is writing there; the lock ends with its process."""
    with (folder / "driver.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another search is running in {folder}", remedy="wait for it, or choose another name or --output"
            ) from error
        yield


def open_study(folder: Path, config: TuneConfig) -> optuna.Study:
    """The study in `folder`, created when there is none. Call it while `owned`.

    A lock or half a line that a killed driver left behind is removed first: nobody else can be writing. RunError when
    the journal cannot be read.
    """
    journal = folder / JOURNAL
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    _drop_torn_line(journal)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            storage=storage,
            study_name=config.name,
            direction="minimize" if config.search.metric == "loss" else "maximize",
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
        )
        study.sampler = sampler(config, len(study.trials))
    except (ValueError, KeyError, OSError) as error:
        raise RunError(
            f"{journal} cannot be read as an Optuna journal",
            found=str(error) or type(error).__name__,
            remedy="restore the file, or start a new search under another name",
        ) from error
    return study


def _drop_torn_line(journal: Path) -> None:
    if not journal.exists():
        return
    with journal.open("rb+") as handle:
        content = handle.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            handle.truncate(whole)
            os.fsync(handle.fileno())


def enqueue_points(study: optuna.Study, config: TuneConfig) -> None:
    """Queue the known good points of the file, once."""
    for point in config.points:
        study.enqueue_trial(dict(point), skip_if_exists=True)


def recover(study: optuna.Study) -> list[FrozenTrial]:
    """Put trials that were running when the driver died back into the queue; returns them.

    The new entry has the same parameters and names the old one, from whose last saved epoch it goes on; the old one is
    closed as failed and no longer counted. In this order, so that a second kill between the two loses nothing. A trial
    that was killed before all its parameters were drawn keeps those that it was queued with.
    """
    lost = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    queued = superseded(study)
    for trial in lost:
        if trial.number not in queued:
            known = trial.system_attrs.get("fixed_params", {}) | trial.params
            study.enqueue_trial(known, user_attrs={RESUMES: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    return lost


def note_error(study: optuna.Study, number: int, reason: str) -> None:
    """Keep why a trial failed; with the study, since Tune gives the reason when the trial has ended and is closed."""
    study.set_user_attr(f"{ERROR} {number}", reason)


def superseded(study: optuna.Study) -> set[int]:
    """Numbers of the trials that a later one continues; they count once, as the later one."""
    return {t.user_attrs[RESUMES] for t in study.trials if RESUMES in t.user_attrs}


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count against the budget: those that ended by themselves, were stopped early, or failed for good."""
    replaced = superseded(study)
    return [t for t in study.trials if t.state in _FINISHED and t.number not in replaced]


def ranking(study: optuna.Study) -> list[FrozenTrial]:
    """Completed trials that did not diverge, the best first; equal scores by lower validation loss, then by age."""
    sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
    done = [t for t in study.trials if t.state == TrialState.COMPLETE and not t.user_attrs.get(DIVERGED)]

    def place(trial: FrozenTrial) -> tuple[float, float, int]:
        assert trial.value is not None
        return sign * trial.value, trial.user_attrs.get(METRICS, {}).get("validation_loss", 0.0), trial.number

    return sorted(done, key=place)


def table(study: optuna.Study) -> pd.DataFrame:
    """Every trial as a row: trial_id, state, score, epochs, seconds, start_s, ..., parameters as `config.<name>`."""
    rows = []
    replaced, errors = superseded(study), study.user_attrs
    began = min((t.datetime_start for t in study.trials if t.datetime_start), default=None)
    for trial in study.trials:
        if trial.number in replaced or trial.state == TrialState.WAITING:
            continue
        last = max(trial.intermediate_values, default=None)
        score = trial.value if trial.value is not None else trial.intermediate_values.get(last) if last else None
        rows.append(
            {
                "trial_id": trial.number,
                "state": "diverged"
                if trial.user_attrs.get(DIVERGED)
                else _WORDS.get(trial.state, trial.state.name.lower()),
                "score": score,
                "epochs": last or 0,
                "seconds": trial.duration.total_seconds() if trial.duration else None,
                "start_s": (trial.datetime_start - began).total_seconds() if trial.datetime_start and began else None,
                "started": trial.datetime_start,
                "ended": trial.datetime_complete,
                **{f"metric.{key}": value for key, value in trial.user_attrs.get(METRICS, {}).items()},
                **{f"config.{key}": value for key, value in trial.params.items()},
                "resumes": trial.user_attrs.get(RESUMES),
                "error": errors.get(f"{ERROR} {trial.number}"),
            }
        )
    return pd.DataFrame(rows)
