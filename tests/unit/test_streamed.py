"""A fit on a stream: the statistics, the losses and the model of one in memory, where order decides nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genre_ray import checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import FeatureConfig, InputConfig, RunConfig, parse
from genre_ray.data.reading import ThreadReader
from genre_ray.data.store import Store
from genre_ray.data.streaming import StreamingConfig
from genre_ray.data.streams import ClipStream
from genre_ray.device import open_device
from genre_ray.errors import RunError
from genre_ray.inference import Predictor
from genre_ray.learning import Columns
from genre_ray.preprocessing import Preprocessor
from genre_ray.streamed import StreamedPart
from genre_ray.training import Trainer, fit

AsStream = Callable[..., ClipStream]


def streamed(table: ClipTable, folder: Path, *, shards: int = 5, **settings: object) -> ClipStream:
    """The table dealt to shards, track by track."""
    store, tracks = Store(str(folder)), list(dict.fromkeys(table.track.tolist()))
    places: list[tuple[int, int, int, str]] = []
    for shard in range(shards):
        done = 0
        with store.writing(f"{shard}.parquet") as writer:
            for track in tracks[shard::shards]:
                clips = table.part([track])
                writer.add(clips.to_arrow())
                places.append((shard, done, len(clips), track))
                done += len(clips)
            writer.finish([])
    return ClipStream(
        store=store,
        reader=ThreadReader(),
        settings=StreamingConfig(**settings),
        shards=tuple(f"{shard}.parquet" for shard in range(shards)),
        shard=np.array([place[0] for place in places], np.int32),
        first=np.array([place[1] for place in places]),
        rows=np.array([place[2] for place in places]),
        track=np.array([place[3] for place in places]),
        label=np.array([table.labels[place[3]] for place in places]),
        picture_shape=table.picture_shape,
        n_columns=None if table.features is None else table.features.shape[1],
    )


@pytest.fixture
def both(parts: tuple[ClipTable, ClipTable], tmp_path: Path) -> tuple[ClipStream, ClipStream]:
    """The training and the validation part as streams."""
    train, validation = parts
    return streamed(train, tmp_path / "train", buffer_mb=1), streamed(validation, tmp_path / "validation")


def changed(run: RunConfig, **parts: dict[str, object]) -> RunConfig:
    data = run.model_dump(mode="json")
    for name, values in parts.items():
        data[name] = values if "kind" in values else data[name] | values
    return parse(RunConfig, data, origin="test")


def plain(run: RunConfig, **training: object) -> RunConfig:
    """Without what order or chance decide: a step an epoch, no dropout, no augmentation."""
    model = run.model.model_dump(mode="json")
    model |= {"dropout": 0.0, "cnn": model["cnn"] | {"dropout": 0.0, "batch_norm": False}}
    model |= {"mlp": model["mlp"] | {"dropout": 0.0}}
    return changed(run, model=model, training={"augment": {}, "batch_size": 128, **training})


def losses(trainer: Trainer, epochs: int = 100) -> list[tuple[float, float | None]]:
    while not trainer.finished and trainer.epoch < epochs:
        trainer.run_epoch()
    return [(result.train_loss, result.validation_loss) for result in trainer.history]


@pytest.mark.parametrize("normalisation", ["per_frequency", "global", "none"])
@pytest.mark.parametrize("scaling", ["standard", "quantile", "none"])
def test_statistics_are_those_of_the_part_in_memory(both, parts, labels, normalisation, scaling):
    inputs = InputConfig(features=FeatureConfig(scaling=scaling))
    inputs = inputs.model_copy(
        update={"spectrogram": inputs.spectrogram.model_copy(update={"normalisation": normalisation})}
    )
    ours, theirs = (Preprocessor(inputs, labels).fit(clips) for clips in (both[0], parts[0]))
    np.testing.assert_array_equal(ours.mean_, theirs.mean_)
    np.testing.assert_array_equal(ours.scale_, theirs.scale_)
    assert ours.feature_state_.keys() == theirs.feature_state_.keys()
    for name, value in theirs.feature_state_.items():
        np.testing.assert_allclose(ours.feature_state_[name], value, rtol=1e-12)


def test_a_step_that_takes_all_clips_is_the_step_in_memory(both, parts, labels, tiny_run):
    run = plain(tiny_run)
    ours, theirs = (losses(Trainer(run, *clips, labels=labels, device="cpu", threads=1)) for clips in (both, parts))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_a_stream_is_learnt_with_every_technique_on(both, labels, tiny_run):
    fitted = fit(tiny_run, *both, labels=labels, device="cpu", threads=1)
    assert fitted.history[-1].validation_accuracy > 0.7
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss


def test_a_fit_that_was_saved_goes_on_bit_by_bit(both, labels, tiny_run, tmp_path):
    def trainer() -> Trainer:
        return Trainer(tiny_run, *both, labels=labels, device="cpu", threads=1)

    whole = losses(trainer())
    first = trainer()
    losses(first, epochs=3)
    first.save(tmp_path)
    second = trainer()
    second.load(tmp_path)
    assert losses(second) == whole


@pytest.mark.parametrize("size", [1, 2, 3])
def test_workers_take_equally_many_steps_and_every_clip_once(both, labels, tiny_run, size):
    train = both[0]
    preprocessor = Preprocessor(tiny_run.inputs, labels).fit(train)
    part = StreamedPart(train, preprocessor, open_device("cpu"), True)
    shares = [list(part.steps(tiny_run.training, epoch=2, shard=(rank, size))) for rank in range(size)]
    assert {len(steps) for steps in shares} == {part.n_steps(tiny_run.training.batch_size, (0, size))}
    for together in zip(*shares, strict=True):
        assert {step.samples for step in together} == {sum(int(step.weights.sum()) for step in together)}
        assert all(len(step.batch.targets) >= 2 for step in together)
    assert sum(step.samples for step in shares[0]) == len(train)


def test_vectors_are_gathered_for_what_is_fitted_in_one_go(both, parts, labels, tiny_run):
    run = changed(tiny_run, inputs={"spectrogram": None}, model={"kind": "svm"}, training={"augment": {}})
    by_track = [table.take(np.argsort(table.track, kind="stable")) for table in parts]  # as prepared tables are
    ours, theirs = (fit(run, *clips, labels=labels, device="cpu", threads=1) for clips in (both, by_track))
    np.testing.assert_allclose(ours.history[0].validation_loss, theirs.history[0].validation_loss, rtol=1e-6)


def test_vectors_beyond_the_bound_are_refused_with_a_remedy(parts, labels, tiny_run, tmp_path):
    many = ClipTable.joined([parts[0]] * 80)
    many = ClipTable(
        track=np.array([f"t{i}" for i in range(len(many))]),
        **{name: getattr(many, name) for name in ("label", "index", "start_s", "spectrogram", "features")},
    )
    stream = streamed(many, tmp_path / "many", shards=2, vectors_mb=1)
    run = changed(tiny_run, inputs={"spectrogram": None}, model={"kind": "svm"}, training={"augment": {}})
    with pytest.raises(RunError, match=r"needs all vectors.*vectors_mb = 1.*raise streaming.vectors_mb"):
        fit(run, stream, labels=labels, device="cpu", threads=1)
    mlp = changed(run, model={"kind": "mlp", "width": 16}, training={"epochs": 2})
    assert fit(mlp, stream, labels=labels, device="cpu", threads=1).history[-1].train_accuracy > 0.8


def test_a_stream_is_predicted_as_the_table_is(both, parts, fitted, tmp_path):
    place = checkpoint.save(tmp_path / "checkpoint", [fitted], metrics={}, data={})
    predictor = Predictor.open(place, device="cpu")
    tracks, probabilities = predictor.predict_table(both[1])
    expected = dict(zip(*predictor.predict_table(parts[1]), strict=True))
    assert sorted(tracks) == sorted(expected)
    np.testing.assert_allclose(probabilities, [expected[track] for track in tracks], atol=1e-6)


def test_descriptors_of_a_stream_are_those_of_the_table(labels, tmp_path):
    generator = np.random.default_rng(0)
    table = ClipTable(
        track=np.array([f"t{i}" for i in range(12)]),
        label=np.array(labels)[np.arange(12) % 3],
        index=np.zeros(12, np.int32),
        start_s=np.zeros(12),
        spectrogram=generator.integers(0, 255, (12, 1, 128, 48), dtype=np.uint8),
    )
    inputs = InputConfig(features=None, descriptors=True)
    stream = streamed(table, tmp_path)
    ours, theirs = (Preprocessor(inputs, labels).fit(clips) for clips in (stream, table))
    for name, value in theirs.descriptor_state_.items():
        np.testing.assert_allclose(ours.descriptor_state_[name], value, rtol=1e-9, atol=1e-9)


def test_columns_beyond_their_bound_keep_moments_exact_and_quantiles_near():
    rows = np.random.default_rng(0).gamma(2.0, size=(60_000, 3))
    whole, bounded = Columns(None), Columns(20_000 * 24)
    for start in range(0, len(rows), 700):
        for columns in (whole, bounded):
            columns.add(rows[start : start + 700])
    ours, exact = bounded.states(), whole.states()
    assert bounded.count == 60_000
    for name in ("mean", "deviation"):
        np.testing.assert_allclose(ours["standard"][name], exact["standard"][name], rtol=1e-10)
    ranks = [(rows[:, i] < value).mean() for i in range(3) for value in ours["quantile"]["quantiles"][i]]
    assert np.abs(np.array(ranks) - np.tile(np.linspace(0, 1, 201), 3)).max() < 0.02
