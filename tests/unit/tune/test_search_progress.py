"""What a search says of its trials, to people and to machines."""

import io
import json
from types import SimpleNamespace
from typing import Any

from genre_ray.events import JsonLines
from genre_ray.tune.progress import SearchProgress
from genre_ray.tune.searcher import SCORE


def trial(number: int = 3, *, saved: str | None = None, **result: Any) -> Any:
    return SimpleNamespace(
        trial_id=str(number),
        config={"number": number, "params": {"training.learning_rate": 0.01}},
        checkpoint=SimpleNamespace(path=saved) if saved else None,
        last_result={"epoch": 7, SCORE: 0.5, **result},
        remote_experiment_path="results/mine",
        error_file=None,
        path="results/mine/trial_3",
    )


def progress(stream: Any) -> SearchProgress:
    searcher: Any = SimpleNamespace(mode="max", note_error=lambda trial_id, reason: None)
    return SearchProgress(
        searcher, metric="accuracy", total=4, done=1, best=None, budget_s=None, stream=stream, clock=lambda: 0.0
    )


def test_a_state_that_was_not_saved_is_said_once_until_one_is() -> None:
    said = io.StringIO()
    shown = progress(said)
    for saved in ("a", "b", "b", "b", "c", "c"):
        shown.on_trial_save(0, [], trial(saved=saved))
    lines = said.getvalue().splitlines()
    assert len(lines) == 2
    assert all("the state of trial 3 was not saved: is results/mine full, or away?" in line for line in lines)


def test_a_trial_that_never_saved_is_said_as_well() -> None:
    said = io.StringIO()
    progress(said).on_trial_save(0, [], trial())
    assert "was not saved" in said.getvalue()


def test_a_finished_trial_is_an_object_with_its_numbers() -> None:
    target = io.StringIO()
    progress(JsonLines(target)).on_trial_complete(0, [], trial(finished=True))
    (line,) = (json.loads(text) for text in target.getvalue().splitlines())
    expected = {"event": "done", "trial": 3, "epoch": 7, "score": 0.5, "best": 0.5, "done": 2, "total": 4}
    assert {name: line[name] for name in expected} == expected
    assert line["params"] == {"training.learning_rate": 0.01}


def test_a_failed_trial_is_an_error_with_its_reason() -> None:
    target = io.StringIO()
    progress(JsonLines(target)).on_trial_error(0, [], trial())
    (line,) = (json.loads(text) for text in target.getvalue().splitlines())
    assert (line["level"], line["event"], line["reason"]) == ("error", "failed", "unknown error")
