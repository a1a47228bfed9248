"""What people see while a search runs: a line a trial, the best so far, the time left.

Knows nothing about training or Optuna's storage.
"""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ray.tune import Callback
from ray.tune.experiment import Trial

from genre_ray.events import say
from genre_ray.tune.searcher import SCORE, StudySearcher
from genre_ray.tune.telemetry import SearchTelemetry

_QUIET_S = 15.0
"""A line of progress at least this often while no trial ends."""

_LONGEST_REASON = 300
"""Characters of an error that are shown; the rest is in the trial's error.txt."""


class SearchProgress(Callback):
    """Writes a line when a trial ends, and one now and then in between; reads well in a terminal and in a log."""

    def __init__(
        self,
        searcher: StudySearcher,
        *,
        metric: str,
        total: int | None,
        done: int,
        best: float | None,
        budget_s: float | None,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._searcher = searcher
        self._metric = metric
        self._lower_is_better = searcher.mode == "min"
        self._total = total
        self._done_before = done
        self._ended = 0
        self._best = best
        self._budget_s = budget_s
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._spoke = self._started
        self._running: dict[str, dict[str, Any]] = {}
        self._saved: dict[str, str | None] = {}
        self._unsaved: set[str] = set()
        self._telemetry = SearchTelemetry(metric)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Count it as running."""
        self._running[trial.trial_id] = {}
        self._telemetry.running(len(self._running))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember the epoch; speak up when it has been quiet."""
        self._running[trial.trial_id] = result
        if self._clock() - self._spoke > _QUIET_S:
            epochs = ", ".join(
                f"trial {r['config']['number']} epoch {r['epoch']} {r[SCORE]:.3f}" for r in self._running.values() if r
            )
            self._say(f"running: {epochs}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One line with outcome, score and parameters."""
        result = trial.last_result
        self._running.pop(trial.trial_id, None)
        self._ended += 1
        score = result.get(SCORE)
        outcome = "diverged" if result.get("diverged") else "done" if result.get("finished") else "stopped early"
        mark = ""
        if result.get("finished") and not result.get("diverged") and score is not None and self._improves(score):
            self._best, mark = score, " *"
        self._note(outcome)
        params = " ".join(
            f"{name.rsplit('.', 1)[-1]}={_short(value)}" for name, value in trial.config["params"].items()
        )
        shown = "-" if score is None else f"{score:.4f}"
        self._say(
            f"trial {trial.config['number']} {outcome} at epoch {result.get('epoch')}: {shown}{mark}  {params}",
            **_fields(trial, outcome),
        )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial that failed for good: the reason in a line, the search goes on."""
        self._running.pop(trial.trial_id, None)
        self._ended += 1
        reason = _reason(trial)
        self._searcher.note_error(trial.trial_id, reason)
        self._note("failed")
        what = f"trial {trial.config['number']} failed: {reason} (full trace: {trial.path}/error.txt)"
        self._say(what, level="error", reason=reason, **_fields(trial, "failed"))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial that is started again."""
        self._note("recovered")
        reason = _reason(trial)
        what = f"trial {trial.config['number']} started again from its last saved epoch, after: {reason}"
        self._say(what, level="warning", reason=reason, **_fields(trial, "recovered"))

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A state was saved; or not, since a full disk costs the state and not the trial: said once until it works."""
        place = trial.checkpoint.path if trial.checkpoint else None
        if place != self._saved.get(trial.trial_id):
            self._unsaved.discard(trial.trial_id)
        elif trial.trial_id not in self._unsaved:
            self._unsaved.add(trial.trial_id)
            self._say(
                f"the state of trial {trial.config['number']} was not saved: is {trial.remote_experiment_path} full, "
                "or away? it goes on; should its worker be lost, it goes on from its state of before",
                level="warning",
                **_fields(trial, "not saved"),
            )
        self._saved[trial.trial_id] = place

    def _note(self, outcome: str) -> None:
        self._telemetry.ended(outcome, self._best)
        self._telemetry.running(len(self._running))

    def _improves(self, score: float) -> bool:
        if self._best is None:
            return True
        return score < self._best if self._lower_is_better else score > self._best

    def _say(self, text: str, *, level: str = "info", **fields: Any) -> None:
        now = self._clock()
        self._spoke = now
        done = self._done_before + self._ended
        count = f"{done}/{self._total}" if self._total is not None else str(done)
        best = "-" if self._best is None else f"{self._best:.4f}"
        head = f"[{count} | best {self._metric} {best} | {_clock_text(now - self._started)}{self._left(now)}]"
        say(self._stream, f"{head} {text}", level=level, done=done, total=self._total, best=self._best, **fields)

    def _left(self, now: float) -> str:
        """Time left by the pace so far, and never more than the budget."""
        estimates = []
        if self._total is not None and self._ended:
            estimates.append((now - self._started) / self._ended * (self._total - self._done_before - self._ended))
        if self._budget_s is not None:
            estimates.append(max(0.0, self._budget_s - (now - self._started)))
        return f", about {_clock_text(min(estimates))} left" if estimates else ""


def _fields(trial: Trial, event: str) -> dict[str, Any]:
    """What a line about a trial says, for machines."""
    result = trial.last_result or {}
    return {
        "event": event,
        "trial": trial.config["number"],
        "epoch": result.get("epoch"),
        "score": result.get(SCORE),
        "params": trial.config["params"],
    }


def _reason(trial: Trial) -> str:
    """Why a trial failed last: the end of what Tune has just written down beside it, as a line."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], _LONGEST_REASON) if lines else "unknown error"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
