"""Estimators answer as scikit-learn does, and are fitted, saved and opened like networks."""

import numpy as np
import pytest
import torch

from genre_ray import checkpoint, models
from genre_ray.config import BoostingConfig, KernelRidgeConfig, RunConfig, SvmConfig, parse
from genre_ray.errors import RunError
from genre_ray.inference import Predictor
from genre_ray.models import kernel_ridge
from genre_ray.models.boosting import Boosting
from genre_ray.models.kernel_ridge import KernelRidge
from genre_ray.models.svm import Svm, _couple, by_arrays
from genre_ray.training import Trainer, fit


def corpus(n_labels, n=240, seed=0):
    generator = np.random.default_rng(seed)
    targets = np.arange(n) % n_labels
    features = generator.standard_normal((n, 9)) + 1.5 * np.eye(n_labels, 9)[targets]
    return features.astype(np.float32), targets, generator.standard_normal((40, 9)).astype(np.float32)


@pytest.mark.parametrize("n_labels", [2, 3, 6])
def test_the_machines_decide_as_scikit_learns(n_labels):
    from sklearn.svm import SVC

    features, targets, other = corpus(n_labels)
    machine = Svm(SvmConfig(c=2.0, gamma=0.7), n_features=9, n_labels=n_labels)
    machine.fit_vectors(features, targets, seed=0)
    gamma = 0.7 / (9 * features.var())
    expected = SVC(C=2.0, gamma=gamma, decision_function_shape="ovo").fit(features, targets).decision_function(other)
    expected = -expected[:, None] if n_labels == 2 else expected
    np.testing.assert_allclose(machine._decide(torch.from_numpy(other)).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("n_labels", [2, 3, 6])
def test_the_machines_answer_alike_by_torch_and_by_arrays(n_labels):
    features, targets, other = corpus(n_labels)
    machine = Svm(SvmConfig(c=2.0, gamma=0.7), n_features=9, n_labels=n_labels)
    machine.fit_vectors(features, targets, seed=0)
    answer = by_arrays(machine)
    for rows in (other, other[:1]):
        expected = machine(None, torch.from_numpy(rows)).numpy()
        found = answer(rows)
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.exp(found), np.exp(expected), atol=1e-5)


@pytest.mark.parametrize("n_labels", [2, 3, 6])
def test_boosting_answers_as_scikit_learn(n_labels):
    from sklearn.ensemble import HistGradientBoostingClassifier

    features, targets, other = corpus(n_labels)
    boosting = Boosting(BoostingConfig(rounds=15, columns=0.5), n_features=9, n_labels=n_labels)
    boosting.fit_vectors(features, targets, seed=3)
    reference = HistGradientBoostingClassifier(
        max_iter=15,
        learning_rate=0.08,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        l2_regularization=1.0,
        max_features=0.5,
        early_stopping=False,
        random_state=3,
    ).fit(features, targets)
    for rows in (features, other):
        found = boosting(None, torch.from_numpy(rows)).softmax(dim=1).numpy()
        np.testing.assert_allclose(found, reference.predict_proba(rows), atol=1e-6)


def test_ridge_answers_alike_by_torch_and_by_arrays():
    features, targets, other = corpus(3)
    machine = KernelRidge(KernelRidgeConfig(), n_features=9, n_labels=3)
    machine.fit_vectors(features, targets, seed=0)
    expected = machine(None, torch.from_numpy(other)).numpy()
    np.testing.assert_allclose(kernel_ridge.by_arrays(machine)(other), expected, atol=1e-4)


def halves(features):
    """Numbers that half precision holds, as a checkpoint keeps centres."""
    return features.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("n_labels", [2, 3, 6])
def test_ridge_scores_are_those_of_scikit_learns_regression(n_labels):
    from sklearn.kernel_ridge import KernelRidge as Reference

    features, targets, other = corpus(n_labels)
    features = halves(features)
    machine = KernelRidge(KernelRidgeConfig(ridge=0.3, gamma=0.8), n_features=9, n_labels=n_labels)
    machine.fit_vectors(features, targets, seed=0)
    wanted = np.eye(n_labels)[targets] - 1 / n_labels
    gamma = float(machine.width)
    assert gamma == pytest.approx(0.8 / (9 * features.var()), rel=1e-5)
    expected = Reference(alpha=0.3, kernel="rbf", gamma=gamma).fit(features, wanted).predict(other)
    found = machine(None, torch.from_numpy(other)).numpy() / float(machine.sharpness)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("together", [1, 7, 512])
def test_a_sample_left_out_scores_as_a_fit_without_it_would_say(together, monkeypatch):
    monkeypatch.setattr(kernel_ridge, "_TOGETHER", together)
    features, targets, _ = corpus(3, n=60)
    features, groups = halves(features), np.arange(60) // 2
    config = KernelRidgeConfig(ridge=0.3, gamma=0.8)
    machine = KernelRidge(config, n_features=9, n_labels=3)
    machine.fit_vectors(features, targets, seed=0, groups=groups)
    wanted = np.eye(3)[targets] - 1 / 3
    factor, coefficients = machine._solve(features, wanted, weight=2.0)
    found = machine._left_out(features, wanted, groups, factor, coefficients)
    rest = groups != 7  # the same centres and ridge, one group fewer to learn from
    _, without = machine._solve(features[rest], wanted[rest], weight=2.0)
    centres = machine.centres.numpy()
    squares = ((features[~rest][:, None] - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found[~rest], np.exp(-float(machine.width) * squares) @ without, atol=1e-5)


def test_variants_are_learnt_from_and_no_centres():
    features, targets, other = corpus(3, n=90)
    near = features + np.random.default_rng(1).normal(0, 0.1, features.shape).astype(np.float32)
    machine = KernelRidge(KernelRidgeConfig(), n_features=9, n_labels=3)
    every, groups = np.concatenate([features, near]), np.tile(np.arange(90), 2)
    machine.fit_vectors(every, np.tile(targets, 2), seed=0, groups=groups, own=90)
    np.testing.assert_array_equal(machine.centres.numpy(), halves(features))
    alone = KernelRidge(KernelRidgeConfig(), n_features=9, n_labels=3)
    alone.fit_vectors(features, targets, seed=0)
    assert not torch.allclose(machine(None, torch.from_numpy(other)), alone(None, torch.from_numpy(other)), atol=1e-2)


def test_no_more_centres_than_asked_for_whatever_the_order_of_blocks(monkeypatch):

    features, targets, other = corpus(3, n=100)
    config = KernelRidgeConfig(centres=30)
    answers = []
    for block in (7, 4096):
        monkeypatch.setattr(kernel_ridge, "_BLOCK", block)
        machine = KernelRidge(config, n_features=9, n_labels=3)
        machine.fit_vectors(features, targets, seed=5)
        assert machine.centres.shape == (30, 9)
        answers.append(machine(None, torch.from_numpy(other)).numpy())
    np.testing.assert_allclose(*answers, atol=1e-3)


def test_sharpness_makes_probabilities_as_sure_as_left_out_samples_ask_for():
    features, targets, _ = corpus(4, n=400)
    fresh, truth, _ = corpus(4, n=400, seed=9)
    machine = KernelRidge(KernelRidgeConfig(), n_features=9, n_labels=4)
    machine.fit_vectors(features, targets, seed=0)
    from genre_ray.calibration import fit_temperature

    answers = machine(None, torch.from_numpy(fresh)).softmax(dim=1).numpy()
    assert 0.8 < fit_temperature(answers, truth) < 1.25


def test_coupling_gives_back_probabilities_that_agree_on_every_pair():
    expected = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]])
    pairs = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    ratios = torch.stack([expected[:, i] / (expected[:, i] + expected[:, j]) for i, j in pairs], dim=1)
    torch.testing.assert_close(_couple(ratios, pairs, 4), expected, atol=1e-5, rtol=0)


def test_the_probabilities_of_the_machines_are_not_overconfident():
    generator = np.random.default_rng(0)
    targets = np.arange(400) % 2
    features = (generator.standard_normal((400, 4)) + targets[:, None] * 0.7).astype(np.float32)
    machine = Svm(SvmConfig(), n_features=4, n_labels=2)
    machine.fit_vectors(features[:300], targets[:300], seed=0)
    logs = machine(None, torch.from_numpy(features[300:]))
    torch.testing.assert_close(logs.exp().sum(dim=1), torch.ones(100))
    assert -logs.numpy()[np.arange(100), targets[300:]].mean() < np.log(2)


@pytest.mark.parametrize("config", [SvmConfig(), BoostingConfig(), KernelRidgeConfig()])
def test_a_label_without_samples_is_refused(config):
    features, targets, _ = corpus(3)
    estimator = models.build(config, picture_shape=None, n_features=9, n_labels=4)
    with pytest.raises(RunError, match=r"1 labels have no samples.*remedy"):
        estimator.fit_vectors(features, targets, seed=0)


@pytest.fixture(params=["svm", "boosting", "kernel_ridge"])
def run(request):
    inputs = {"spectrogram": None, "features": {"scaling": "quantile"}}
    return parse(RunConfig, {"inputs": inputs, "model": {"kind": request.param}}, origin="test")


def test_a_trainer_fits_an_estimator_in_one_epoch(run, parts, labels):
    trainer = Trainer(run, *parts, labels=labels, device="cpu")
    result = trainer.run_epoch()
    assert trainer.finished
    assert (result.epoch, result.learning_rate) == (1, 0.0)
    assert result.train_accuracy > 0.9
    assert result.validation_accuracy > 0.7


def test_a_saved_estimator_goes_on_with_the_same_answers(run, parts, labels, tmp_path):
    first = Trainer(run, *parts, labels=labels, device="cpu")
    first.run_epoch()
    first.save(tmp_path)
    second = Trainer(run, *parts, labels=labels, device="cpu")
    second.load(tmp_path)
    assert second.finished
    for name, value in second.fitted().model.state_dict().items():
        assert torch.equal(value, first.fitted().model.state_dict()[name])


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_of_an_estimator_opens_and_answers(run, parts, labels, half, tmp_path):
    fitted = fit(run, *parts, labels=labels, device="cpu")
    path = checkpoint.save(tmp_path / "x", [fitted], metrics={}, data={}, half=half)
    assert {entry.suffix for entry in path.iterdir()} == {".json", ".md", ".safetensors"}
    predictor = Predictor.open(path, device="cpu")
    tracks, probabilities = predictor.predict_table(parts[1])
    targets = np.array([labels.index(track.split(".")[0]) for track in tracks])
    assert (probabilities.argmax(axis=1) == targets).mean() == fitted.history[-1].validation_accuracy
    loss = -np.log(probabilities[np.arange(len(targets)), targets]).mean()
    assert loss == pytest.approx(fitted.history[-1].validation_loss, abs=1e-2 if half else 1e-5)


def test_describe_counts_what_an_estimator_keeps(run, parts, labels):
    model = fit(run, *parts, labels=labels, device="cpu").model
    assert f"{sum(buffer.numel() for buffer in model.buffers()):,}" in models.describe(model).splitlines()[-1]


def test_workers_each_fit_an_estimator_whole(run, parts, labels):
    def refused(_model):
        raise AssertionError("an estimator has no gradients to average")

    alone = Trainer(run, *parts, labels=labels, device="cpu")
    second = Trainer(run, *parts, labels=labels, device="cpu", shard=(1, 2), wrap=refused)
    assert second.run_epoch().validation_loss == alone.run_epoch().validation_loss
