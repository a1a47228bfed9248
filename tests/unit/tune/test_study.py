"""The study survives its driver: torn journals, stale locks, trials that were running, and what is counted."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from genre_ray.config import parse
from genre_ray.errors import RunError
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.searcher import SCORE, StudySearcher


def config(**search: object) -> TuneConfig:
    return parse(
        TuneConfig,
        {
            "name": "t",
            "protocol": {"name": "paper"},
            "space": {"model.dropout": {"uniform": [0.1, 0.6]}},
            "points": [{"model.dropout": 0.25}],
            "search": search,
        },
        origin="test",
    )


def epoch(number: int, score: float, *, finished: bool = False, **more: object) -> dict[str, object]:
    return {"epoch": number, SCORE: score, "finished": finished, "kept_epoch": number, "validation_loss": 1.0, **more}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return records.open_study(tmp_path, config())


def test_known_points_are_suggested_first_and_queued_once(study: optuna.Study) -> None:
    records.enqueue_points(study, config())
    records.enqueue_points(study, config())
    searcher = StudySearcher(study, config())
    assert searcher.suggest("a")["params"] == {"model.dropout": 0.25}
    assert searcher.suggest("b")["params"] != {"model.dropout": 0.25}


def test_a_trial_that_stops_early_is_pruned_with_its_course_kept(study: optuna.Study) -> None:
    searcher = StudySearcher(study, config())
    searcher.suggest("a")
    for number, score in ((1, 0.2), (2, 0.3)):
        searcher.on_trial_result("a", epoch(number, score))
    searcher.on_trial_complete("a", epoch(3, 0.25))  # Tune hands the last epoch over here alone
    trial = study.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.2, 2: 0.3, 3: 0.25}
    assert records.table(study)[["epochs", "score"]].values.tolist() == [[3, 0.25]]
    assert records.ranking(study) == []


def test_a_diverged_trial_is_complete_marked_and_never_the_winner(study: optuna.Study) -> None:
    searcher = StudySearcher(study, config())
    searcher.suggest("a")
    searcher.on_trial_result("a", epoch(1, 0.0))
    searcher.on_trial_complete("a", epoch(1, 0.0, finished=True, diverged=True))
    searcher.suggest("b")
    searcher.on_trial_complete("b", epoch(1, 0.0, finished=True))
    assert [t.number for t in records.ranking(study)] == [1]
    assert records.table(study)["state"].tolist() == ["diverged", "complete"]


def test_a_failed_trial_is_told_as_failed_with_its_reason(study: optuna.Study) -> None:
    searcher = StudySearcher(study, config())
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    searcher.note_error("a", "ValueError: boom")  # Tune calls back in this order
    assert study.trials[0].state == TrialState.FAIL
    assert records.table(study)["error"].tolist() == ["ValueError: boom"]


def test_running_trials_of_a_killed_driver_go_on_as_new_ones_and_count_once(tmp_path: Path) -> None:
    searcher = StudySearcher(records.open_study(tmp_path, config()), config())
    first = searcher.suggest("a")
    searcher.on_trial_result("a", epoch(1, 0.4))

    again = records.open_study(tmp_path, config())
    assert [t.number for t in records.recover(again)] == [0]
    assert records.recover(again) == []
    resumed = StudySearcher(again, config()).suggest("b")
    assert resumed["params"] == first["params"]
    assert resumed["resumes"] == [first["folder"]]

    third = records.open_study(tmp_path, config())
    records.recover(third)
    chain = StudySearcher(third, config()).suggest("c")
    assert chain["resumes"] == [resumed["folder"], first["folder"]]
    assert records.finished(third) == []


def test_a_known_point_that_was_asked_for_but_never_suggested_is_not_lost(tmp_path: Path) -> None:
    study = records.open_study(tmp_path, config())
    records.enqueue_points(study, config())
    study.ask()  # and killed here
    again = records.open_study(tmp_path, config())
    records.recover(again)
    records.enqueue_points(again, config())
    searcher = StudySearcher(again, config())
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert first["params"] == {"model.dropout": 0.25}
    assert first["resumes"] == []
    assert second["params"] != first["params"]
    assert records.finished(again) == []


def test_a_trial_killed_before_its_parameters_were_drawn_lends_its_folder_to_no_other(tmp_path: Path) -> None:
    searcher = StudySearcher(records.open_study(tmp_path, config()), config())
    first = searcher.suggest("a")
    second = records.open_study(tmp_path, config())
    records.recover(second)
    second.ask().set_user_attr(records.FOLDER, "trial_00001")  # the second driver is killed here
    third = records.open_study(tmp_path, config())
    third.ask().set_user_attr(records.FOLDER, "trial_00002")  # and one more of the second driver's, with nothing drawn
    records.recover(third)
    searcher = StudySearcher(third, config())
    assert searcher.suggest("b") == first | {"number": 3, "folder": "trial_00003", "resumes": [first["folder"]]}
    assert searcher.suggest("c")["resumes"] == []


def test_a_second_kill_between_queueing_and_closing_queues_once(tmp_path: Path) -> None:
    study = records.open_study(tmp_path, config())
    trial = study.ask()
    study.enqueue_trial(trial.params, user_attrs={records.RESUMES: trial.number})
    records.recover(study)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_half_a_line_and_a_stale_lock_are_cleared(tmp_path: Path) -> None:
    study = records.open_study(tmp_path, config())
    study.tell(study.ask(), 0.5)
    journal = tmp_path / records.JOURNAL
    with journal.open("ab") as handle:
        handle.write(b'{"op_code": 6, "wor')
    (tmp_path / f"{records.JOURNAL}.lock").symlink_to(journal)
    again = records.open_study(tmp_path, config())
    again.tell(again.ask(), 0.7)
    assert [t.value for t in again.trials] == [0.5, 0.7]


def test_two_drivers_cannot_hold_one_folder(tmp_path: Path) -> None:
    with records.owned(tmp_path), pytest.raises(RunError, match="another search is running"), records.owned(tmp_path):
        pass


def test_ranking_prefers_the_higher_score_then_the_lower_loss(study: optuna.Study) -> None:
    searcher = StudySearcher(study, config())
    for name, score, loss in (("a", 0.5, 0.9), ("b", 0.8, 1.2), ("c", 0.8, 0.7)):
        searcher.suggest(name)
        searcher.on_trial_complete(name, epoch(3, score, finished=True) | {"validation_loss": loss})
    assert [t.number for t in records.ranking(study)] == [2, 1, 0]


def test_a_loss_is_minimised(tmp_path: Path) -> None:
    settings = config(metric="loss")
    study = records.open_study(tmp_path, settings)
    searcher = StudySearcher(study, settings)
    assert searcher.mode == "min"
    for name, score in (("a", 2.0), ("b", 1.0)):
        searcher.suggest(name)
        searcher.on_trial_complete(name, epoch(3, score, finished=True))
    assert records.ranking(study)[0].number == 1


def test_a_foreign_file_in_place_of_the_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / records.JOURNAL).write_text("not a journal\n", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be read as an Optuna journal"):
        records.open_study(tmp_path, config())
