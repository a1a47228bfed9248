"""Optimiser, schedules and weight average against closed forms and torch's own."""

import pytest
import torch
from torch import nn

from genre_ray.config import TrainingConfig
from genre_ray.optimisation import Schedule, WeightAverage, build_optimizer


def rates(schedule, steps=40, **settings):
    config = TrainingConfig(learning_rate=0.1, schedule=schedule, **settings)
    return [Schedule(config, steps).rate(step) for step in range(steps)]


def test_constant_is_constant():
    assert set(rates("constant")) == {0.1}


def test_cosine_falls_from_the_peak_towards_zero():
    found = rates("cosine")
    assert found[0] == pytest.approx(0.1)
    assert found[20] == pytest.approx(0.05)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.001


def test_one_cycle_is_torchs_one_cycle():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=40)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step() if len(expected) < 40 else None
    assert rates("one_cycle") == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_fit_of_one_step_has_a_positive_rate(schedule):
    assert Schedule(TrainingConfig(schedule=schedule), 1).rate(0) > 0


def test_plateau_halves_after_half_the_patience_without_gain():
    schedule = Schedule(TrainingConfig(learning_rate=0.1, schedule="plateau", patience=6), 100)
    for loss in (1.0, 0.5, 0.6, 0.6):
        schedule.epoch_done(loss)
    assert schedule.rate(0) == 0.1
    schedule.epoch_done(0.55)
    assert schedule.rate(0) == pytest.approx(0.05)


def test_plateau_goes_on_from_its_state():
    config = TrainingConfig(schedule="plateau", patience=4)
    one, two = Schedule(config, 10), Schedule(config, 10)
    for loss in (1.0, 1.0, 1.0):
        one.epoch_done(loss)
    two.restore(one.state())
    for schedule in (one, two):
        schedule.epoch_done(2.0)
        schedule.epoch_done(2.0)
    assert one.rate(5) == two.rate(5) < config.learning_rate / 3


def test_weight_decay_spares_biases_and_normalisation():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    groups = build_optimizer(model, TrainingConfig(weight_decay=0.1)).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (3, 0.0)]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_is_the_one_named(name, kind):
    assert type(build_optimizer(nn.Linear(2, 2), TrainingConfig(optimizer=name))) is kind


def test_the_average_follows_its_recurrence_for_weights_and_running_statistics():
    model = nn.BatchNorm1d(1)
    average = WeightAverage(model, decay=0.3)
    expected = {"weight": 1.0, "running_mean": 0.0}
    for step, value in enumerate((5.0, -2.0, 7.0), start=1):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(10 * value)
            model.num_batches_tracked.fill_(step)
        average.update()
        decay = min(0.3, (1 + step) / (10 + step))
        expected["weight"] = decay * expected["weight"] + (1 - decay) * value
        expected["running_mean"] = decay * expected["running_mean"] + (1 - decay) * 10 * value
    for name, value in expected.items():
        assert average.weights()[name].item() == pytest.approx(value, rel=1e-6)
    assert average.weights()["num_batches_tracked"].item() == 3
