"""The report of a search over the study's own table: the same words, the same winner, and why trials failed."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from genre_ray.config import parse
from genre_ray.report import write_search_report
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig

CONFIG = parse(TuneConfig, {"name": "t", "protocol": {"name": "paper"}}, origin="test")


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return records.open_study(tmp_path, CONFIG)


def ended(study: optuna.Study, score: float, state: TrialState | None, loss: float = 1.0) -> int:
    trial = study.ask()
    trial.report(score, step=1)
    trial.set_user_attr(records.METRICS, {"validation_loss": loss})
    if state is not None:
        study.tell(trial, score if state == TrialState.COMPLETE else None, state=state)
    return trial.number


def reported(study: optuna.Study, folder: Path) -> tuple[dict, str]:
    page = write_search_report(
        folder / "search.html", name="t", trials=records.table(study), metric="macro_f1", mode="max", summary={}
    )
    return json.loads(page.with_suffix(".json").read_text(encoding="utf-8")), page.read_text(encoding="utf-8")


def test_a_failed_trial_is_counted_never_the_best_and_says_why(study: optuna.Study, tmp_path: Path) -> None:
    ended(study, 0.6, TrialState.COMPLETE)
    records.note_error(study, ended(study, 0.9, TrialState.FAIL), "RuntimeError: out of <memory>")
    facts, page = reported(study, tmp_path)
    assert records.table(study)["state"].tolist() == ["complete", "failed"]
    assert facts["best"]["trial_id"] == 0
    assert "diverged or failed</span><strong>1</strong>" in page
    assert "RuntimeError: out of &lt;memory&gt;" in page
    assert "0.9000" not in page


def test_the_best_is_the_winner_of_the_ranking(study: optuna.Study, tmp_path: Path) -> None:
    ended(study, 0.8, TrialState.COMPLETE, loss=1.2)
    ended(study, 0.8, TrialState.COMPLETE, loss=0.7)
    ended(study, 0.9, TrialState.PRUNED)
    ended(study, 0.95, None)
    facts, page = reported(study, tmp_path)
    assert facts["best"]["trial_id"] == records.ranking(study)[0].number == 1
    assert "best macro_f1</span><strong>0.8000</strong>" in page
    assert "why it failed" not in page.split("<thead>")[1].split("</thead>")[0], "nothing failed"
