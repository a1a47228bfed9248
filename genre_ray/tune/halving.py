"""Successive halving within each variant: a small network that learns fast must not end the larger ones for it.

Knows nothing about training.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import optuna
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.names import VARIANT
from genre_ray.tune.searcher import SCORE

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


class VariantHalving(FIFOScheduler):
    """One ASHAScheduler a variant; `make` builds it when the first trial of a variant comes."""

    def __init__(self, make: Callable[[], ASHAScheduler]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._make = make
        self._by_variant: dict[str, ASHAScheduler] = {}

    def of(self, params: dict[str, Any]) -> ASHAScheduler:
        """The scheduler that judges trials with these parameters."""
        variant = str(params.get(VARIANT, ""))
        if variant not in self._by_variant:
            self._by_variant[variant] = self._make()
        return self._by_variant[variant]

    def on_trial_add(self, tune_controller: "TuneController", trial: Trial) -> None:
        """Enter the trial among those of its variant."""
        self._judge(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:
        """Whether it goes on, by the trials of its variant."""
        return self._judge(trial).on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> None:
        """Its last score counts for those that follow."""
        self._judge(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: "TuneController", trial: Trial) -> None:
        """Forget it."""
        self._judge(trial).on_trial_remove(tune_controller, trial)

    def debug_string(self) -> str:
        """Rungs of every variant."""
        return "\n".join(f"{name}: {one.debug_string()}" for name, one in self._by_variant.items())

    def _judge(self, trial: Trial) -> ASHAScheduler:
        return self.of(trial.config["params"])


def remark(config: TuneConfig) -> str | None:
    """What to know of halving that is on and stops nothing; None when it can, or nothing takes more than an epoch."""
    longest = config.longest_training()
    if config.asha is None or longest == 1 or config.asha.grace_epochs < longest:
        return None
    return (
        f"asha.grace_epochs {config.asha.grace_epochs} is not below the longest training of {longest} epochs: "
        "no trial is stopped early"
    )


def make_scheduler(config: TuneConfig, study: optuna.Study) -> VariantHalving | None:
    """Halving that remembers the trials of before an interruption, fed from the study; None when it is off."""
    if config.asha is None:
        return None
    asha, longest = config.asha, config.longest_training()

    def make() -> ASHAScheduler:
        return ASHAScheduler(
            time_attr="epoch",
            metric=SCORE,
            mode="min" if config.search.metric == "loss" else "max",
            max_t=longest,
            grace_period=min(asha.grace_epochs, longest),
            reduction_factor=asha.reduction_factor,
            stop_last_trials=False,
        )

    scheduler = VariantHalving(make)
    controller: Any = None  # ASHA does not look at it
    for trial in records.finished(study):
        past: Any = SimpleNamespace(trial_id=f"past-{trial.number}", config={"params": trial.params})
        scheduler.on_trial_add(controller, past)
        for epoch, score in sorted(trial.intermediate_values.items()):
            scheduler.on_trial_result(controller, past, {"epoch": epoch, SCORE: score})
    return scheduler
