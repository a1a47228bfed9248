"""One experiment: learns what can be learnt, repeats itself, and lets the test part decide nothing."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genre_ray import checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import FeatureConfig, InputConfig, MlpConfig, RunConfig, TrainingConfig
from genre_ray.data.leaks import Leaks, Split
from genre_ray.experiment import Experiment, Recipe, code_digest, run_experiment
from genre_ray.report import RunResult
from genre_ray.training import fit

LABELS = ("blues", "jazz", "rock")
CONFIG = RunConfig(
    inputs=InputConfig(spectrogram=None, features=FeatureConfig()),
    model=MlpConfig(width=16, layers=2, dropout=0.1),
    training=TrainingConfig(epochs=8, batch_size=16, learning_rate=0.01),
)


@pytest.fixture(scope="module")
def table() -> ClipTable:
    """90 tracks of two clips each; the genre moves three of the 57 columns."""
    generator = np.random.default_rng(0)
    genres = np.repeat(np.arange(90) % 3, 2)
    features = generator.normal(size=(180, 57))
    features[np.arange(180), genres] += 3.0
    return ClipTable(
        track=np.array([f"t{i // 2:03d}" for i in range(180)]),
        label=np.array(LABELS)[genres],
        index=np.tile(np.arange(2, dtype=np.int32), 90),
        start_s=np.tile([0.0, 30.0], 90),
        features=features,
    )


def make(**changes: object) -> Experiment:
    tracks = [f"t{i:03d}" for i in range(90)]
    split = Split("custom", tuple(tracks[:50]), tuple(tracks[50:65]), tuple(tracks[65:]), Leaks(test_tracks=25))
    base = Experiment(
        recipe=Recipe.of(CONFIG).seeded(1),
        split=split,
        seed=1,
        labels=LABELS,
        fitted_on="train",
        calibration="validation",
        fingerprint="f",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def run(experiment: Experiment, table: ClipTable) -> RunResult:
    return run_experiment(experiment, table, threads=1, device="cpu")


def test_what_can_be_learnt_is_learnt_and_scored_per_track(table: ClipTable) -> None:
    result = run(make(), table)
    assert result.scores.n == 25
    assert sorted(result.tracks) == list(make().split.test)
    assert result.scores.accuracy > 0.8
    assert (result.fitted_on, result.n_train) == ("train", 50)
    assert result.leaks == make().split.leaks.describe()


def test_the_same_experiment_gives_the_same_numbers(table: ClipTable) -> None:
    first, again = run(make(), table), run(make(), table)
    assert np.array_equal(first.probabilities, again.probabilities)


def test_another_seed_gives_other_numbers(table: ClipTable) -> None:
    other = run(make(recipe=Recipe.of(CONFIG).seeded(2), seed=2), table)
    assert not np.array_equal(other.probabilities, run(make(), table).probabilities)


def test_both_parts_are_fitted_when_asked_and_the_curves_are_those_with_a_validation_part(table: ClipTable) -> None:
    result = run(make(fitted_on="train + validation"), table)
    assert (result.fitted_on, result.n_train) == ("train + validation", 65)
    assert result.history[-1]["validation_loss"] is not None


def test_without_calibration_and_early_stopping_both_parts_take_one_fit(table: ClipTable) -> None:
    result = run(make(fitted_on="train + validation", calibration="none"), table)
    assert len(result.history) == 8
    assert result.history[-1]["validation_loss"] is None


def test_the_test_part_decides_nothing(table: ClipTable) -> None:
    """With other sounds and other labels in the test part, curves and epochs stay what they were."""
    assert table.features is not None
    test = np.isin(table.track, make().split.test)
    features, label = table.features.copy(), table.label.copy()
    features[test], label[test] = 100.0, "rock"
    changed = dataclasses.replace(table, features=features, label=label)
    for fitted_on in ("train", "train + validation"):
        stopping = CONFIG.model_copy(
            update={"training": CONFIG.training.model_copy(update={"early_stopping": True, "patience": 2})}
        )
        experiment = make(recipe=Recipe.of(stopping).seeded(1), fitted_on=fitted_on)
        honest, tampered = run(experiment, table).history, run(experiment, changed).history
        strip = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in honest]
        assert strip == [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in tampered]


def test_calibration_keeps_the_ranking_and_changes_the_certainty(table: ClipTable) -> None:
    plain, tempered = run(make(calibration="none"), table), run(make(), table)
    assert np.array_equal(plain.probabilities.argmax(axis=1), tempered.probabilities.argmax(axis=1))
    assert not np.allclose(plain.probabilities, tempered.probabilities)


def test_the_recipes_own_temperature_takes_no_fit_of_its_own(table: ClipTable) -> None:
    table = table.take(np.flatnonzero(table.index == 0))  # the temperature is that of a clip
    plain = run(make(calibration="none"), table)
    recipe = dataclasses.replace(Recipe.of(CONFIG).seeded(1), temperature=2.0)
    cooler = run(make(recipe=recipe, calibration="recipe"), table)
    roots = np.sqrt(plain.probabilities)
    assert np.allclose(cooler.probabilities, roots / roots.sum(axis=1, keepdims=True), atol=1e-5)


def test_members_of_an_ensemble_get_seeds_of_their_own() -> None:
    recipe = Recipe(members=(CONFIG, CONFIG, CONFIG), weights=(0.5, 0.25, 0.25)).seeded(7)
    seeds = [member.training.seed for member in recipe.members]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3


def test_an_ensemble_is_the_weighted_mean_of_its_members(table: ClipTable) -> None:
    recipe = Recipe(members=(CONFIG, CONFIG), weights=(0.75, 0.25)).seeded(1)
    together = run(make(recipe=recipe, calibration="none"), table)
    alone = [run(make(recipe=Recipe.of(member), calibration="none"), table) for member in recipe.members]
    expected = 0.75 * alone[0].probabilities + 0.25 * alone[1].probabilities
    assert np.allclose(together.probabilities, expected, atol=1e-5)


def test_a_recipe_survives_json_and_comes_back_from_a_checkpoint(
    table: ClipTable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = Recipe(members=(CONFIG, CONFIG), weights=(0.75, 0.25)).seeded(3)
    assert Recipe.from_json(recipe.to_json(), origin="test") == recipe
    members = [fit(member, table, labels=LABELS, threads=1, device="cpu") for member in recipe.members]
    place = tmp_path_factory.mktemp("recipe") / "checkpoint"
    checkpoint.save(place, members, weights=recipe.weights, metrics={}, data={})
    assert Recipe.of_checkpoint(place) == recipe


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"recipe": Recipe.of(CONFIG).seeded(9)},
        {"fitted_on": "train + validation"},
        {"calibration": "none"},
        {"fingerprint": "g"},
        {"labels": ("jazz", "blues", "rock")},
        {"split": dataclasses.replace(make().split, leaks=Leaks(test_tracks=3, artist_known=3, artists_crossing=1))},
        {"split": dataclasses.replace(make().split, test=make().split.test[1:])},
    ],
)
def test_whatever_decides_a_score_decides_the_digest(changes: dict[str, object]) -> None:
    assert make(**changes).digest() != make().digest() == make().digest()


def test_a_result_of_other_code_is_not_taken_for_one_of_this_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serve").mkdir()
    (tmp_path / "features.py").write_text("a = 1")
    first = code_digest.__wrapped__(tmp_path)
    (tmp_path / "serve/app.py").write_text("no score comes from here")
    assert code_digest.__wrapped__(tmp_path) == first
    (tmp_path / "features.py").write_text("a = 2")
    assert code_digest.__wrapped__(tmp_path) != first
    before = make().digest()
    monkeypatch.setattr("genre_ray.experiment.code_digest", lambda: "another")
    assert make().digest() != before
