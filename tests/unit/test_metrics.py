"""Metrics against closed forms and against scikit-learn."""

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from genre_ray import intervals, metrics

LABELS = ("blues", "jazz", "rock")


def one_hot(predicted: list[int], n_labels: int = 3) -> NDArray[np.float64]:
    return np.eye(n_labels)[predicted]


@pytest.fixture(scope="module")
def drawn() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """400 tracks whose targets are drawn from the very probabilities: calibrated by construction."""
    generator = np.random.default_rng(7)
    probabilities = generator.dirichlet(np.full(10, 0.4), 400)
    targets = np.array([generator.choice(10, p=row) for row in probabilities])
    return probabilities, targets


def test_accuracy_is_the_share_of_right_rows() -> None:
    assert metrics.accuracy(one_hot([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


def test_accuracy_and_macro_f1_take_logits_as_well_as_probabilities(drawn: Any) -> None:
    probabilities, targets = drawn
    logits = np.log(probabilities + 1e-300) * 3 - 5
    assert metrics.accuracy(logits, targets) == metrics.accuracy(probabilities, targets)
    assert metrics.macro_f1(logits, targets) == metrics.macro_f1(probabilities, targets)


def test_macro_f1_of_a_hand_computed_case() -> None:
    # blues: P 1, R 1/2, F1 2/3; jazz: P 1/2, R 1, F1 2/3; rock: F1 1
    assert metrics.macro_f1(one_hot([0, 1, 1, 2]), np.array([0, 0, 1, 2])) == pytest.approx(7 / 9)


def test_macro_f1_leaves_out_labels_that_occur_nowhere() -> None:
    assert metrics.macro_f1(one_hot([0, 1]), np.array([0, 1])) == 1.0


def test_macro_f1_counts_a_label_that_is_only_predicted_as_zero() -> None:
    assert metrics.macro_f1(one_hot([0, 2]), np.array([0, 0])) == pytest.approx((2 / 3 + 0) / 2)


def test_scores_agree_with_scikit_learn(drawn: Any) -> None:
    probabilities, targets = drawn
    labels = [f"genre{i}" for i in range(10)]
    scores = metrics.score(probabilities, targets, labels)
    predicted = probabilities.argmax(axis=1)
    assert scores.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert scores.log_loss == pytest.approx(log_loss(targets, probabilities))
    assert np.array_equal(scores.confusion, confusion_matrix(targets, predicted))
    expected = precision_recall_fscore_support(targets, predicted, zero_division=0)
    rows = np.array([(row.precision, row.recall, row.f1, row.support) for row in scores.per_genre])
    assert np.allclose(rows.T, expected)


def test_ece_of_certain_and_right_answers_is_zero() -> None:
    assert metrics.ece(one_hot([0, 1, 2]), np.array([0, 1, 2])) == 0.0


def test_ece_of_certain_and_wrong_answers_is_one() -> None:
    assert metrics.ece(one_hot([0, 1, 2]), np.array([1, 2, 0])) == 1.0


def test_ece_is_the_gap_when_all_answers_fall_into_one_bin() -> None:
    probabilities = np.tile([0.7, 0.2, 0.1], (10, 1))
    targets = np.array([0] * 4 + [1] * 6)
    assert metrics.ece(probabilities, targets) == pytest.approx(0.3)


def test_opposite_gaps_in_different_bins_do_not_cancel() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    targets = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    assert metrics.ece(probabilities, targets) == pytest.approx(0.1)


def test_a_calibrated_source_has_a_small_ece(drawn: Any) -> None:
    probabilities, targets = drawn
    sharpened = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    assert metrics.ece(probabilities, targets) < 0.06 < metrics.ece(sharpened, targets)


def test_even_true_probabilities_show_an_error_on_few_tracks(drawn: Any) -> None:
    probabilities, targets = drawn
    expected = metrics.ece_of_perfect(probabilities)
    assert metrics.ece(probabilities, targets) == pytest.approx(expected, abs=0.02)
    assert metrics.ece_of_perfect(probabilities[:50]) > 2 * expected


def test_certain_answers_have_no_error_by_chance() -> None:
    assert metrics.ece_of_perfect(one_hot([0, 1, 2])) == 0.0


def test_reliability_bins_hold_every_track_once(drawn: Any) -> None:
    bins = metrics.reliability(*drawn)
    assert len(bins) == metrics.ECE_BINS
    assert sum(bin_.count for bin_ in bins) == 400
    assert all(bin_.low < bin_.confidence <= bin_.high for bin_ in bins if bin_.count)


def test_log_loss_of_a_uniform_guess_is_log_of_the_number_of_labels() -> None:
    assert metrics.log_loss(np.full((4, 3), 1 / 3), np.array([0, 1, 2, 0])) == pytest.approx(math.log(3))


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    assert math.isfinite(metrics.log_loss(one_hot([0]).astype(np.float32), np.array([1])))


def test_most_confused_pairs_come_by_count_with_their_share() -> None:
    scores = metrics.score(one_hot([1, 1, 1, 0, 2, 0, 2]), np.array([0, 0, 0, 0, 1, 1, 2]), LABELS)
    assert scores.most_confused[0] == metrics.ConfusedPair("blues", "jazz", 3, 0.75)
    assert {(pair.true, pair.predicted) for pair in scores.most_confused} == {
        ("blues", "jazz"),
        ("jazz", "rock"),
        ("jazz", "blues"),
    }


def test_risk_coverage_ends_at_the_plain_accuracy_and_gains_from_abstaining(drawn: Any) -> None:
    points = metrics.risk_coverage(*drawn)
    assert points[-1].coverage == 1.0
    assert points[-1].accuracy == metrics.accuracy(*drawn)
    assert points[4].accuracy > points[-1].accuracy
    assert [point.threshold for point in points] == sorted((point.threshold for point in points), reverse=True)


def test_risk_coverage_of_three_tracks() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
    points = metrics.risk_coverage(probabilities, np.array([0, 0, 1]))
    assert [(point.threshold, point.accuracy) for point in points] == [(0.9, 1.0), (0.8, 1.0), (0.6, 2 / 3)]


def test_wilson_interval_of_eight_of_ten() -> None:
    # Centre (8 + 1.92) / 13.84 = 0.7168; the published example values for 8 of 10 are 0.4902 and 0.9433.
    assert intervals.wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_wilson_interval_of_none_right_starts_at_zero_and_is_not_empty() -> None:
    low, high = intervals.wilson_interval(0, 20)
    assert low == 0.0
    assert high == pytest.approx(1.959964**2 / (20 + 1.959964**2))


def test_mean_interval_of_five_values_uses_the_t_quantile() -> None:
    values = [0.80, 0.82, 0.84, 0.86, 0.88]
    half = 2.7764451 * math.sqrt(0.001) / math.sqrt(5)  # t(0.975, 4) = 2.776, s² = 0.001
    assert intervals.mean_interval(values) == pytest.approx((0.84 - half, 0.84 + half), abs=1e-6)


def test_shared_training_tracks_widen_the_interval_as_nadeau_and_bengio_say() -> None:
    values = [0.80, 0.82, 0.84, 0.86, 0.88]
    plain, corrected = intervals.mean_interval(values), intervals.mean_interval(values, test_to_train=0.25)
    assert plain is not None
    assert corrected is not None
    assert (corrected[1] - corrected[0]) / (plain[1] - plain[0]) == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))


def test_one_value_has_no_interval() -> None:
    assert intervals.mean_interval([0.8]) is None


def test_seeds_of_one_split_are_averaged_before_the_interval_over_splits() -> None:
    summary = intervals.summarise_values([0.7, 0.9, 0.5, 0.7], ["a", "a", "b", "b"])
    assert (summary.n, summary.mean) == (2, pytest.approx(0.7))
    assert summary.std == pytest.approx(math.sqrt(0.02))
    assert summary.basis == "t over 2 splits"


def test_seeds_of_a_single_split_are_said_to_be_just_that() -> None:
    assert "training seeds of one split" in intervals.summarise_values([0.7, 0.9], ["a", "a"]).basis


def test_no_interval_leaves_what_a_score_can_be() -> None:
    """Two seeds say next to nothing about their spread: t over them reached from -0.01 to 1.26 of accuracy."""
    assert intervals.summarise_values([0.675, 0.575], ["a", "a"], bounds=(0.0, 1.0)).interval == (0.0, 1.0)
    runs = [metrics.score(np.eye(2)[[0, guess, 1, 1]], np.array([0, 1, 1, 0]), ("a", "b")) for guess in (0, 1)]
    for summary in metrics.summarise(runs, splits=["a", "a"]).values():
        assert summary.interval is not None
        assert summary.interval[0] >= 0.0
    accuracy = metrics.summarise(runs, splits=["a", "a"])["accuracy"].interval
    assert accuracy is not None
    assert accuracy[1] == 1.0


def test_a_run_alone_keeps_its_own_interval() -> None:
    scores = metrics.score(one_hot([0, 1, 1]), np.array([0, 1, 2]), LABELS)
    summaries = metrics.summarise([scores])
    assert summaries["accuracy"].interval == scores.accuracy_interval
    assert summaries["ece"].interval is None


def test_bootstrap_interval_holds_the_score_and_follows_the_seed(drawn: Any) -> None:
    probabilities, targets = drawn
    labels = [str(i) for i in range(10)]
    first, again = (metrics.score(probabilities, targets, labels, seed=3) for _ in range(2))
    other = metrics.score(probabilities, targets, labels, seed=4)
    low, high = first.macro_f1_interval
    assert low < first.macro_f1 < high
    assert first == again
    assert first.macro_f1_interval != other.macro_f1_interval


def test_bootstrap_of_two_even_genres_is_as_wide_as_the_binomial_says() -> None:
    # Right or wrong with equal chance in both genres: macro F1 is close to accuracy, deviation sqrt(.25 / n).
    predicted = [0] * 200 + [1] * 200 + [0] * 200 + [1] * 200
    scores = metrics.score(one_hot(predicted, 2), np.array([0] * 400 + [1] * 400), LABELS[:2])
    low, high = scores.macro_f1_interval
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 800), rel=0.1)


def test_scores_survive_json(drawn: Any) -> None:
    scores = metrics.score(*drawn, [str(i) for i in range(10)])
    assert metrics.Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "N > 0"),
        (one_hot([0, 1]), np.array([0]), "N targets"),
        (one_hot([0, 1]), np.array([0, 3]), "targets 0 to 3"),
        (one_hot([0], 2), np.array([0]), "3 labels"),
        (np.array([[0.5, 0.4, 0.0]]), np.array([0]), "sum to 1"),
        (np.array([[np.nan, 0.5, 0.5]]), np.array([0]), "finite"),
        (np.array([[1.5, -0.5, 0.0]]), np.array([0]), "not negative"),
    ],
)
def test_what_is_no_prediction_is_refused(probabilities: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.score(probabilities, targets, LABELS)
