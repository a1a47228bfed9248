"""The reports: everything is there, nothing is fetched, and nothing from the data becomes markup."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genre_ray import metrics, report
from genre_ray.data.faults import Fault
from genre_ray.intervals import wilson_interval
from genre_ray.report import axes
from genre_ray.report.runs import pool, summary_of, worst_tracks
from genre_ray.schema import GENRES

VOID = {"meta", "input", "br", "link", "img"}


class Outline(HTMLParser):
    """Collects tags, ids, links and text, and checks that tags close in the order in which they opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def make_run(seed: int, *, labels: tuple[str, ...] = GENRES, split: str = "paper", n: int = 60) -> report.RunResult:
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % len(labels)
    logits = generator.normal(size=(n, len(labels))) + 2.0 * np.eye(len(labels))[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    history = tuple(
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 1 - 0.9 / epoch,
            "validation_loss": 2.2 / epoch + seed / 10,
            "validation_accuracy": 0.8 - 0.7 / epoch,
            "validation_macro_f1": 0.78 - 0.7 / epoch,
            "learning_rate": 1e-3 / epoch,
            "seconds": 1.0,
        }
        for epoch in range(1, 6 + seed)
    )
    return report.RunResult(
        name=f"{split} seed {seed}",
        split=split,
        seed=seed,
        scores=metrics.score(probabilities, targets, labels),
        leaks="166 of 200 test tracks share an artist with training; 4 of 14 duplicate pairs cross",
        history=history,
        tracks=tuple(f"{labels[t]}.{i:05d}" for i, t in enumerate(targets)),
        probabilities=probabilities,
        targets=targets,
        n_train=240,
    )


@pytest.fixture(scope="module")
def runs() -> list[report.RunResult]:
    return [make_run(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def written(runs: list[report.RunResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write_report(
        tmp_path_factory.mktemp("report"),
        title="Hybrid & friends",
        runs=runs,
        config={"model": {"kind": "hybrid", "width": np.int64(32)}},
        data={"corpus": "gtzan", "tracks": 999},
        faults=[Fault("missing-figure", ("jazz.00054",), "no figure", "left out")],
    )


@pytest.fixture(scope="module")
def outline(written: Path) -> Outline:
    return Outline(written.read_text(encoding="utf-8"))


def test_every_tag_closes(outline: Outline) -> None:
    assert outline.open == []


def test_the_page_fetches_nothing(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<link|<img|src=", page)


def test_every_section_link_has_its_section(outline: Outline) -> None:
    anchors = {attrs["href"] for tag, attrs in outline.tags if tag == "a"}
    ids = {f"#{attrs['id']}" for tag, attrs in outline.tags if tag == "section"}
    assert anchors == ids
    assert {"#runs", "#genres", "#training", "#calibration", "#mistakes", "#data", "#config"} <= ids


def test_scores_stand_beside_protocol_and_leaks(outline: Outline, runs: list[report.RunResult]) -> None:
    mean = np.mean([run.scores.accuracy for run in runs])
    top = outline.text.split("Configuration")[0]
    assert f"{mean:.3f}" in top
    assert "166 of 200 test tracks share an artist" in top
    assert "60 test tracks, mean of 3 training seeds" in top


def test_every_genre_has_its_row_and_its_line_in_the_matrix(outline: Outline) -> None:
    for genre in GENRES:
        assert outline.words.count(genre) >= 3


def test_matrix_cells_add_up_to_all_tests(outline: Outline, runs: list[report.RunResult]) -> None:
    cells = [attrs["title"] for tag, attrs in outline.tags if tag == "td" and attrs.get("title")]
    assert len(cells) == len(GENRES) ** 2
    assert sum(int(re.search(r": (\d+) \(", str(cell)).group(1)) for cell in cells) == sum(run.scores.n for run in runs)  # type: ignore[union-attr]


def test_curves_show_single_runs_faintly_and_their_mean(outline: Outline) -> None:
    curves = [
        str(attrs["class"]) for tag, attrs in outline.tags if tag == "polyline" and "curve" in str(attrs["class"])
    ]
    # Loss and accuracy: three runs of training and validation each; macro F1 and learning rate: three runs.
    assert sum("faint" in kind for kind in curves) == 6 + 6 + 3 + 3
    assert sum("faint" not in kind for kind in curves) == 2 + 2 + 1 + 1 + 1  # and the coverage curve


def test_charts_and_scrolling_tables_have_names(outline: Outline) -> None:
    assert all(attrs.get("aria-label") for tag, attrs in outline.tags if tag == "svg" or attrs.get("role") == "region")


def test_json_beside_the_page_carries_the_same_facts(written: Path, runs: list[report.RunResult]) -> None:
    facts = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["summary"]["accuracy"]["mean"] == pytest.approx(np.mean([run.scores.accuracy for run in runs]))
    assert metrics.Scores.from_json(facts["runs"][1]["scores"]) == runs[1].scores
    assert facts["config"]["model"]["width"] == 32
    assert facts["faults"][0]["tracks"] == ["jazz.00054"]
    assert facts["versions"]["torch"]
    assert facts["worst_tracks"][0]["probability"] >= facts["worst_tracks"][-1]["probability"]


def test_text_from_the_data_never_becomes_markup(tmp_path: Path) -> None:
    nasty = '"><script>alert(1)</script>'
    run = make_run(1, labels=("blues", nasty), split=nasty)
    page = report.write_report(
        tmp_path / "page.html",
        title=nasty,
        runs=[run],
        config={nasty: nasty},
        data={nasty: nasty},
        faults=[Fault(nasty, (nasty,), nasty, nasty)],
        notes=[nasty],
    )
    assert sum(tag == "script" for tag, _ in Outline(page.read_text(encoding="utf-8")).tags) == 1


def test_numbers_that_are_none_are_written_as_null(tmp_path: Path) -> None:
    run = make_run(0)
    history = ({"epoch": 1, "train_loss": math.inf, "validation_loss": math.nan, "learning_rate": 1e-3},)
    broken = report.RunResult(**{name: getattr(run, name) for name in run.__slots__} | {"history": history})
    page = report.write_report(tmp_path, title="diverged", runs=[broken], config={})
    text = page.with_suffix(".json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan\w*", "", page.read_text(encoding="utf-8").split("<main>")[1])


def test_runs_over_different_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same labels"):
        report.write_report(tmp_path, title="x", runs=[make_run(0), make_run(1, labels=("a", "b"))], config={})
    with pytest.raises(ValueError, match="at least one run"):
        report.write_report(tmp_path, title="x", runs=[], config={})


def test_nothing_unfinished_is_left_behind(written: Path) -> None:
    assert sorted(path.name for path in written.parent.iterdir()) == ["report.html", "report.json"]


def test_a_run_survives_json(runs: list[report.RunResult]) -> None:
    again = report.RunResult.from_json(json.loads(json.dumps(runs[0].to_json())))
    assert again == runs[0]
    assert np.allclose(again.probabilities, runs[0].probabilities, atol=1e-6)


def test_support_counts_a_track_once_however_many_seeds_tested_it(runs: list[report.RunResult]) -> None:
    pooled = pool(runs)
    assert (pooled.tracks, pooled.times_tested) == (60, 3.0)
    assert [row.support for row in pooled.per_genre] == [6] * 10
    assert pooled.scores.n == 180
    right = pooled.scores.accuracy * 60
    assert pooled.scores.accuracy_interval == pytest.approx(wilson_interval(right, 60))  # not of 180 tests
    assert pool(runs[:1]).scores.accuracy_interval == pytest.approx(runs[0].scores.accuracy_interval)


def test_the_interval_of_one_split_is_over_its_tracks_and_not_over_its_seeds(runs: list[report.RunResult]) -> None:
    summary, pooled = summary_of(runs), pool(runs).scores
    assert summary["accuracy"].interval == pooled.accuracy_interval
    assert summary["macro_f1"].interval == pooled.macro_f1_interval
    assert summary_of(runs[:1])["accuracy"].basis == "test tracks of one run"


def test_seeds_that_agree_make_no_interval_narrower(runs: list[report.RunResult]) -> None:
    one, thrice = pool(runs[:1]), pool([runs[0]] * 3)
    assert thrice.scores.accuracy_interval == pytest.approx(one.scores.accuracy_interval)
    width, of_one = (high - low for low, high in (thrice.scores.macro_f1_interval, one.scores.macro_f1_interval))
    assert width == pytest.approx(of_one, rel=0.1)
    assert thrice.ece_of_perfect == pytest.approx(one.ece_of_perfect, rel=0.1)


def test_worst_tracks_are_wrong_in_the_mean_and_sorted_by_certainty() -> None:
    rows = [[0.1, 0.9], [0.4, 0.6], [0.8, 0.2]]
    run = make_run(0, labels=("blues", "jazz"), n=3)
    changed = {"probabilities": np.array(rows), "targets": np.zeros(3, int), "tracks": ("a", "b", "c")}
    run = report.RunResult(**{name: getattr(run, name) for name in run.__slots__} | changed)
    assert [(wrong.track, wrong.predicted, wrong.probability) for wrong in worst_tracks([run])] == [
        ("a", "jazz", 0.9),
        ("b", "jazz", 0.6),
    ]


def test_folds_are_corrected_for_shared_training_tracks_and_seeds_are_not() -> None:
    folds = [make_run(seed, split=f"artist-cv[{seed}/3]") for seed in (1, 2, 3)]
    assert "corrected for shared training tracks" in summary_of(folds)["accuracy"].basis
    assert "corrected" not in summary_of([make_run(seed) for seed in (1, 2, 3)])["accuracy"].basis


def test_linear_ticks_are_round_and_within_the_range() -> None:
    assert axes.linear_ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert axes.linear_ticks(3.0, 3.0) == [3.0]


def test_log_ticks_are_powers_of_ten() -> None:
    assert axes.log_ticks(1e-4, 1e-2) == pytest.approx([1e-4, 1e-3, 1e-2])


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (0.00075, "7.5e-4"), (0.0, "0"), (20_000.0, "20k"), (1e-4, "1e-4")]
)
def test_tick_texts_lose_no_digit(value: float, text: str) -> None:
    assert axes.tick_text(value) == text


def make_trials(**changed: Any) -> pd.DataFrame:
    rows = [
        {"trial_id": "t0", "state": "complete", "score": 0.5, "epochs": 10, "seconds": 20.0},
        {"trial_id": "t1", "state": "pruned", "score": 0.4, "epochs": 5, "seconds": 10.0},
        {"trial_id": "t2", "state": "complete", "score": 0.7, "epochs": 10, "seconds": 21.0},
        {"trial_id": "t3", "state": "diverged", "score": 9.0, "epochs": 1, "seconds": 2.0},
        {"trial_id": "t4", "state": "failed", "score": None, "epochs": 0, "seconds": 1.0},
    ]
    frame = pd.DataFrame(rows)
    frame["config.training.learning_rate"] = [1e-4, 1e-3, 1e-2, 1.0, 1e-3]
    frame["config.variant"] = ["cnn", "mlp", "cnn", "mlp", "cnn"]
    frame["config.width"] = [16.0, np.nan, 32.0, 64.0, np.nan]
    return frame.assign(**changed)


def search_report(path: Path, trials: pd.DataFrame, mode: str = "max") -> tuple[Outline, dict[str, Any]]:
    summary = {"data": "gtzan", "best": {"variant": "cnn"}}
    page = report.write_search_report(path, name="t", trials=trials, metric="macro_f1", mode=mode, summary=summary)
    facts: dict[str, Any] = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return Outline(page.read_text(encoding="utf-8")), facts


def test_the_best_trial_is_the_best_of_those_with_a_true_score(tmp_path: Path) -> None:
    assert search_report(tmp_path, make_trials())[1]["best"]["trial_id"] == "t2"
    assert search_report(tmp_path, make_trials(), "min")[1]["best"]["trial_id"] == "t0", "t1 did not come to its end"


def test_a_search_report_lists_every_trial_and_missing_values_as_null(tmp_path: Path) -> None:
    outline, facts = search_report(tmp_path / "search.html", make_trials())
    assert outline.open == []
    assert (tmp_path / "search.json").exists()
    assert [row["config.width"] for row in facts["trials"]] == [16.0, None, 32.0, 64.0, None]
    assert all(any(word.startswith(f"t{i}") for word in outline.words) for i in range(5))


def test_penalties_of_diverged_trials_are_not_drawn(tmp_path: Path) -> None:
    outline, _ = search_report(tmp_path, make_trials())
    assert "9.0000" not in outline.text
    assert "Not drawn, for want of a usable score: 2 trials." in outline.text


def test_start_times_give_a_time_line_and_overlapping_trials_two_lanes(tmp_path: Path) -> None:
    outline, _ = search_report(tmp_path, make_trials(start_s=[0.0, 0.0, 10.1, 20.1, 22.2]))
    heights = {attrs["y"] for tag, attrs in outline.tags if tag == "rect"}
    assert len(heights) == 2
    assert "Time line" in outline.text


def test_a_search_without_a_scored_trial_still_reports(tmp_path: Path) -> None:
    outline, facts = search_report(tmp_path, make_trials()[4:])
    assert facts["best"] is None
    assert "None was scored" in outline.text


def test_a_trial_that_the_budget_ended_is_not_called_running_and_is_no_sliver_on_the_time_line(tmp_path: Path) -> None:
    trials = make_trials(start_s=[0.0, 0.0, 10.1, 20.1, 22.2])
    trials.loc[4, ["state", "seconds"]] = ["running", None]
    outline, facts = search_report(tmp_path, trials)
    assert "cut off" in outline.text
    assert "running" not in outline.text
    assert facts["trials"][4]["state"] == "cut off"
    assert sum(tag == "rect" and str(attrs.get("class")).startswith("span") for tag, attrs in outline.tags) == 4


def test_tick_texts_do_not_run_into_the_name_of_the_axis() -> None:
    y = axes.y_axis(0.755, 0.78)
    drawn = axes.frame(axes.x_axis(0, 1), y, x_label="x", y_label="macro_f1")
    ends = [float(x) for x in re.findall(r'class="tick" x="([0-9.]+)"[^>]*text-anchor="end"', drawn)]
    longest = max(len(text) for _, text in y.ticks())
    assert longest == len("0.775")
    assert min(ends) - longest * 6.0 > 11 + 4  # letters of 11 are some 6 wide; the name is centred at 11
