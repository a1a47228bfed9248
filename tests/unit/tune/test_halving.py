"""Successive halving judges a trial by those of its variant, and remembers a search that was interrupted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from genre_ray.config import parse
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.halving import VariantHalving, make_scheduler, remark
from genre_ray.tune.searcher import SCORE, StudySearcher


def config(**asha: int) -> TuneConfig:
    variants = {"slow": {}, "fast": {"inputs": {"spectrogram": None}, "model": {"kind": "mlp"}}}
    return parse(
        TuneConfig,
        {"name": "t", "protocol": {"name": "paper"}, "variants": variants, "asha": asha or None},
        origin="test",
    )


def judge(scheduler: VariantHalving, name: str, variant: str, score: float, epoch: int = 2) -> str:
    trial: Any = SimpleNamespace(trial_id=name, config={"params": {"variant": variant}})
    controller: Any = None
    scheduler.on_trial_add(controller, trial)
    return scheduler.on_trial_result(controller, trial, {"epoch": epoch, SCORE: score})


def test_a_variant_that_learns_slowly_is_not_ended_by_a_fast_one(tmp_path: Path) -> None:
    settings = config(grace_epochs=2, reduction_factor=2)
    scheduler = make_scheduler(settings, records.open_study(tmp_path, settings))
    assert scheduler is not None
    for number, score in enumerate((0.9, 0.8, 0.85)):
        judge(scheduler, f"fast-{number}", "fast", score)
    assert judge(scheduler, "slow-0", "slow", 0.2) == TrialScheduler.CONTINUE
    assert judge(scheduler, "slow-1", "slow", 0.1) == TrialScheduler.STOP
    assert judge(scheduler, "fast-3", "fast", 0.5) == TrialScheduler.STOP


def test_scores_of_before_an_interruption_still_count(tmp_path: Path) -> None:
    settings = config(grace_epochs=2, reduction_factor=2)
    study = records.open_study(tmp_path, settings)
    searcher = StudySearcher(study, settings)
    variant = searcher.suggest("a")["params"]["variant"]
    last = {"epoch": 2, SCORE: 0.9, "finished": True, "kept_epoch": 2, "validation_loss": 1.0}
    searcher.on_trial_complete("a", last)
    scheduler = make_scheduler(settings, records.open_study(tmp_path, settings))
    assert scheduler is not None
    assert judge(scheduler, "b", variant, 0.1) == TrialScheduler.STOP


def test_without_asha_there_is_no_scheduler(tmp_path: Path) -> None:
    assert make_scheduler(config(), records.open_study(tmp_path, config())) is None


def test_a_grace_that_outlasts_every_training_is_remarked_on() -> None:
    assert remark(config(grace_epochs=5)) is None
    assert "20 is not below the longest training of 20 epochs" in str(remark(config(grace_epochs=20)))
    assert remark(config()) is None, "halving is off"
