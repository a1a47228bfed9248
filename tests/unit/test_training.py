"""The Trainer: it learns, it repeats itself bit by bit, it resumes, and workers together are one."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from genre_ray.batches import even_batches, shard_rows
from genre_ray.config import RunConfig, parse
from genre_ray.errors import ConfigError, DivergedError, RunError
from genre_ray.preprocessing import Preprocessor
from genre_ray.trainer_state import read_state, write_state
from genre_ray.training import Trainer, fit


def changed(run: RunConfig, **training) -> RunConfig:
    """`run` with other training settings."""
    data = run.model_dump(mode="json")
    data["training"].update(training)
    return parse(RunConfig, data, origin="test")


def make(run, parts, labels, validation=True, **options):
    train, other = parts
    return Trainer(run, train, other if validation else None, labels=labels, device="cpu", threads=1, **options)


def train_losses(trainer, epochs=None):
    losses = []
    while not trainer.finished and (epochs is None or len(losses) < epochs):
        losses.append(trainer.run_epoch().train_loss)
    return losses


def test_a_separable_corpus_is_learnt_with_every_technique_on(tiny_run, parts, labels):
    history = fit(changed(tiny_run, epochs=20), *parts, labels=labels, device="cpu", threads=1).history
    assert [result.epoch for result in history] == list(range(1, 21))
    assert history[-1].validation_accuracy >= 0.9
    assert history[-1].validation_macro_f1 >= 0.9
    assert history[-1].validation_loss < history[0].validation_loss < math.log(3) + 0.1
    assert history[-1].train_loss < history[0].train_loss


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "mlp", "width": 32},
        {"kind": "cnn", "width": 8, "stages": 2, "hidden": 16},
        {"kind": "cnn", "width": 8, "stages": 2, "hidden": 16, "batch_norm": False, "pooling": "flatten"},
    ],
)
def test_every_model_can_learn_its_training_part_by_heart(model, parts, labels):
    run = parse(
        RunConfig, {"model": model, "training": {"epochs": 15, "learning_rate": 0.01, "batch_size": 16}}, origin="test"
    )
    assert fit(run, parts[0], labels=labels, device="cpu", threads=1).history[-1].train_accuracy > 0.95


def test_the_same_seed_gives_the_same_fit_bit_by_bit(tiny_run, parts, labels, fitted):
    torch.manual_seed(999)  # what the process drew before must not matter
    again = fit(tiny_run, *parts, labels=labels, device="cpu", threads=1)
    assert [r.train_loss for r in again.history] == [r.train_loss for r in fitted.history]
    assert [r.validation_loss for r in again.history] == [r.validation_loss for r in fitted.history]
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, fitted.model.state_dict()[name])


def test_another_seed_gives_another_fit(tiny_run, parts, labels, fitted):
    other = train_losses(make(changed(tiny_run, seed=1), parts, labels), epochs=1)
    assert other[0] != fitted.history[0].train_loss


def test_training_leaves_the_global_generator_alone(tiny_run, parts, labels):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make(tiny_run, parts, labels).run_epoch()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_a_resumed_fit_is_the_uninterrupted_one(schedule, tiny_run, parts, labels, tmp_path):
    run = changed(tiny_run, schedule=schedule, patience=2, keep="best")
    whole = make(run, parts, labels)
    expected = [whole.run_epoch() for _ in range(6)]
    first = make(run, parts, labels)
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path)
    second = make(run, parts, labels)
    second.load(tmp_path)
    assert second.epoch == 3
    while not second.finished:
        second.run_epoch()
    for got, want in zip(second.history, expected, strict=True):
        assert (got.train_loss, got.validation_loss, got.learning_rate) == (
            want.train_loss,
            want.validation_loss,
            want.learning_rate,
        )
    for name, value in second.fitted().model.state_dict().items():
        assert torch.equal(value, whole.fitted().model.state_dict()[name])


def test_a_saved_fit_has_no_half_written_file(tiny_run, parts, labels, tmp_path):
    trainer = make(tiny_run, parts, labels)
    trainer.save(tmp_path)
    trainer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trainer.pt"]


def test_a_damaged_or_missing_saved_fit_is_refused(tiny_run, parts, labels, tmp_path):
    trainer = make(tiny_run, parts, labels)
    with pytest.raises(RunError, match="no saved fit"):
        trainer.load(tmp_path / "nothing")
    trainer.save(tmp_path)
    path = tmp_path / "trainer.pt"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:1000], b"", whole[:-1], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="cannot be read"):
            trainer.load(tmp_path)


def test_a_saved_fit_of_another_configuration_is_refused(tiny_run, parts, labels, tmp_path):
    make(tiny_run, parts, labels).save(tmp_path)
    network = tiny_run.model_copy(update={"model": tiny_run.model.model_copy(update={"hidden": 32})})
    with pytest.raises(RunError, match=r"another configuration.*differences in model"):
        make(network, parts, labels).load(tmp_path)
    with pytest.raises(RunError, match=r"another configuration.*differences in training"):
        make(changed(tiny_run, learning_rate=0.02), parts, labels).load(tmp_path)


def test_a_fit_saved_by_an_earlier_version_names_its_network_alone_and_goes_on(tiny_run, parts, labels, tmp_path):
    made = make(tiny_run, parts, labels)
    made.run_epoch()
    made.save(tmp_path)
    state = read_state(tmp_path / "trainer.pt", made.device)
    del state["config"]
    write_state(tmp_path / "trainer.pt", state | {"model_config": tiny_run.model.model_dump_json()})
    again = make(changed(tiny_run, learning_rate=0.02), parts, labels)
    again.load(tmp_path)
    assert again.epoch == 1
    network = tiny_run.model_copy(update={"model": tiny_run.model.model_copy(update={"hidden": 32})})
    with pytest.raises(RunError, match=r"another configuration.*differences in model"):
        make(network, parts, labels).load(tmp_path)


def test_the_preprocessor_is_fitted_on_the_training_part_alone(parts, labels, fitted):
    expected = Preprocessor(fitted.config.inputs, labels).fit(parts[0])
    assert fitted.preprocessor.to_json() == expected.to_json()


def test_early_stopping_ends_a_fit_that_gains_nothing(tiny_run, parts, labels):
    # A rate this small leaves the weights where they are: no epoch gains more than rounding.
    run = changed(tiny_run, epochs=50, early_stopping=True, patience=2, learning_rate=1e-12, schedule="constant")
    trainer = make(run, parts, labels)
    while not trainer.finished:
        trainer.run_epoch()
    losses = [result.validation_loss for result in trainer.history]
    assert trainer.epoch < 50
    assert min(losses) not in losses[-2:] or losses.count(min(losses)) > 1


def test_keep_best_returns_the_epoch_with_the_lowest_validation_loss(tiny_run, parts, labels):
    train, validation = parts
    mislabelled = dataclasses.replace(validation, label=np.roll(validation.label, 2))  # the more is learnt, the worse
    run = changed(tiny_run, keep="best", schedule="constant", epochs=6, average_decay=None)
    trainer = make(run, (train, mislabelled), labels)
    states = []
    while not trainer.finished:
        trainer.run_epoch()
        states.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    best = int(np.argmin([result.validation_loss for result in trainer.history]))
    assert best < 5
    for name, value in trainer.fitted().model.state_dict().items():
        assert torch.equal(value, states[best][name])


@pytest.mark.parametrize("setting", [{"early_stopping": True}, {"keep": "best"}])
def test_what_needs_a_validation_part_is_refused_without_one(setting, tiny_run, parts, labels):
    with pytest.raises(ConfigError, match=r"needs a validation part.*remedy"):
        make(changed(tiny_run, **setting), parts, labels, validation=False)


def test_without_a_validation_part_its_figures_are_none(tiny_run, parts, labels):
    result = make(tiny_run, parts, labels, validation=False).run_epoch()
    assert (result.validation_loss, result.validation_accuracy, result.validation_macro_f1) == (None, None, None)


def test_a_fit_that_diverges_says_so(tiny_run, parts, labels):
    run = changed(
        tiny_run, learning_rate=1.0, gradient_clip=None, schedule="constant", optimizer="adam", average_decay=None
    )
    trainer = make(run, parts, labels)
    with torch.no_grad():
        trainer.model.output.weight.fill_(math.inf)
    with pytest.raises(DivergedError, match="learning_rate"):
        trainer.run_epoch()


def test_weights_that_only_the_validation_part_shows_to_be_broken_are_a_divergence(tiny_run, parts, labels):
    trainer = make(changed(tiny_run, average_decay=0.8), parts, labels)
    trainer._average.weights()["output.bias"].fill_(math.nan)
    with pytest.raises(DivergedError, match="validation loss is nan in epoch 1"):
        trainer.run_epoch()


def test_a_finished_fit_refuses_another_epoch(tiny_run, parts, labels):
    trainer = make(changed(tiny_run, epochs=1), parts, labels)
    trainer.run_epoch()
    with pytest.raises(RunError, match="finished"):
        trainer.run_epoch()


def test_a_crop_wider_than_the_clips_is_refused(tiny_run, parts, labels):
    augment = tiny_run.training.augment.model_dump() | {"crop_columns": 41}
    with pytest.raises(ConfigError, match="clips of 40 columns"):
        make(changed(tiny_run, augment=augment), parts, labels)


@pytest.mark.parametrize(("n", "size"), [(32, 32), (33, 32), (1, 8), (800, 32), (97, 16), (670, 64)])
def test_batches_cover_all_rows_once_and_differ_by_at_most_one(n, size):
    bounds = even_batches(n, size)
    sizes = [stop - start for start, stop in bounds]
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(n))
    assert len(bounds) == math.ceil(n / size)
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 32])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_slices_of_all_workers_weigh_each_row_once(n, size):
    total = torch.zeros(n)
    lengths = set()
    for rank in range(size):
        rows, weights = shard_rows(n, (rank, size), torch.device("cpu"))
        total.index_add_(0, rows, weights)
        lengths.add(len(rows))
    assert torch.equal(total, torch.ones(n))
    assert len(lengths) == 1


def test_gradients_of_all_workers_average_to_the_one_of_the_whole_batch(tiny_run, parts, labels):
    data = changed(tiny_run, batch_size=62, average_decay=None, gradient_clip=None).model_dump(mode="json")
    data["model"]["dropout"] = data["model"]["cnn"]["dropout"] = data["model"]["mlp"]["dropout"] = 0.0
    data["model"]["cnn"]["batch_norm"] = False
    run = parse(RunConfig, data, origin="test")

    def gradients(shard):
        trainer = make(run, parts, labels, validation=False, shard=shard)
        trainer.run_epoch()  # one batch, one step: the gradients of that step are still there
        return [weight.grad for weight in trainer.model.parameters()]

    whole = gradients((0, 1))
    workers = [gradients((rank, 4)) for rank in range(4)]  # 62 rows: slices of 16, the last one filled up
    for expected, *others in zip(whole, *workers, strict=True):
        torch.testing.assert_close(torch.stack(others).mean(0), expected, atol=1e-6, rtol=1e-4)
