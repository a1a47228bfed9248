"""Predictor: the same numbers whichever way a track comes in, bad tracks set apart, long ones in bounded memory."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from genre_ray import checkpoint, inference, preprocessing, scoring
from genre_ray.calibration import temper
from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.device import open_device
from genre_ray.errors import ConfigError, TrackError
from genre_ray.inference import Predictor
from genre_ray.preprocessing import Preprocessor, samples_of
from genre_ray.schema import Clip, Track
from genre_ray.training import fit


@pytest.fixture(scope="module")
def predictor(fitted, tmp_path_factory):
    path = checkpoint.save(tmp_path_factory.mktemp("c") / "best", [fitted], metrics={}, data={})
    return Predictor.open(path, device="cpu", threads=1)


def clips_of(table, rows):
    return [
        Clip(
            track=str(table.track[i]),
            start_s=float(table.start_s[i]),
            spectrogram=table.spectrogram[i],
            features=table.features[i],
        )
        for i in rows
    ]


@pytest.fixture
def tracks_as_clips(tiny_table, monkeypatch):
    """`extract` that gives the prepared clips of a track: whole tracks without audio."""

    def extract(track, _inputs):
        if track.id == "bad":
            raise TrackError("bad: no sound", kind="silent", track="bad")
        if track.id == "cut":
            yield from clips_of(tiny_table, range(16))
            raise TrackError("cut: ends in the middle", kind="truncated", track="cut")
        if track.id == "long":
            yield from (dataclasses.replace(c, track="long") for c in clips_of(tiny_table, range(40)))
            return
        yield from clips_of(tiny_table, np.flatnonzero(tiny_table.track == track.id))

    monkeypatch.setattr(inference, "extract", extract)


def test_validation_during_training_and_the_predictor_agree(predictor, fitted, parts, labels):
    tracks, probabilities = predictor.predict_table(parts[1], batch_size=5)
    assert tracks == tuple(dict.fromkeys(parts[1].track.tolist()))
    targets = np.array([labels.index(track.split(".")[0]) for track in tracks])
    loss = -np.log(probabilities[np.arange(len(targets)), targets]).mean()
    assert loss == pytest.approx(fitted.history[-1].validation_loss, abs=1e-5)
    assert (probabilities.argmax(axis=1) == targets).mean() == pytest.approx(fitted.history[-1].validation_accuracy)


def test_the_members_batch_is_the_collated_samples(predictor, fitted, tiny_table):
    rows = range(9)
    batch = predictor.members[0].batch(clips_of(tiny_table, rows))
    expected = fitted.preprocessor.collate(samples_of(tiny_table, fitted.preprocessor, rows))
    np.testing.assert_array_equal(batch.spectrogram, expected.spectrogram)
    np.testing.assert_array_equal(batch.features, expected.features)


def test_logits_do_not_depend_on_folding_or_memory_format(predictor, fitted, tiny_table):
    batch = predictor.members[0].batch(clips_of(tiny_table, range(9)))
    with torch.inference_mode():
        expected = fitted.model(torch.from_numpy(batch.spectrogram), torch.from_numpy(batch.features)).numpy()
    np.testing.assert_allclose(predictor.members[0].logits(batch), expected, atol=1e-5)


def test_probabilities_are_the_mean_over_the_test_windows(predictor, fitted, tiny_table):
    clips = clips_of(tiny_table, range(4))
    batch = predictor.members[0].batch(clips)
    parts = []
    with torch.inference_mode():
        for start in (0, 8, 16):
            window = torch.from_numpy(batch.spectrogram[..., start : start + 24])
            parts.append(fitted.model(window, torch.from_numpy(batch.features)).softmax(1).numpy())
    np.testing.assert_allclose(predictor.predict_clips(clips), np.mean(parts, axis=0), atol=1e-5)


def test_few_windows_go_through_the_network_at_once_and_many_one_after_the_other(predictor, tiny_table, monkeypatch):
    batch = predictor.members[0].batch(clips_of(tiny_table, range(4)))
    sizes = []
    hook = predictor.members[0].model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[1])))
    together = predictor.members[0].probabilities(batch)
    monkeypatch.setattr(scoring, "_TOGETHER", 11)
    apart = predictor.members[0].probabilities(batch)
    hook.remove()
    assert sizes == [12, 4, 4, 4]
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_members_that_share_a_preprocessor_share_its_work(fitted, tiny_table, tmp_path, monkeypatch):
    other = dataclasses.replace(fitted, model=_scrambled(fitted.model))
    path = checkpoint.save(tmp_path / "x", [fitted, other], metrics={}, data={})
    mixture = Predictor.open(path, device="cpu")
    calls = []
    normalise = Preprocessor.normalise_pictures
    monkeypatch.setattr(Preprocessor, "normalise_pictures", lambda *args: calls.append(1) or normalise(*args))
    mixture.predict_clips(clips_of(tiny_table, range(3)))
    assert len(calls) == 1


def test_preprocessors_that_differ_describe_a_clip_once(labels, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    clips = [
        Clip(
            track=f"{i}",
            label=labels[i % 3],
            spectrogram=generator.integers(60, 200, (1, 128, 64), dtype=np.uint8),
            features=generator.standard_normal(57),
        )
        for i in range(12)
    ]
    table = ClipTable.from_clips(clips)
    members = []
    for scaling in ("standard", "quantile"):
        run = {"inputs": {"descriptors": True, "features": {"scaling": scaling}}, "model": {"kind": "svm"}}
        members.append(fit(parse(RunConfig, run, origin="test"), table, labels=labels, device="cpu", threads=1))
    path = checkpoint.save(tmp_path / "x", members, metrics={}, data={})
    mixture = Predictor.open(path, device="cpu")
    expected = np.mean([m.probabilities(m.batch(clips)) for m in mixture.members], axis=0)
    calls = []
    described = inference.describe_pictures
    for module in (inference, preprocessing):
        monkeypatch.setattr(module, "describe_pictures", lambda pictures: calls.append(1) or described(pictures))
    np.testing.assert_allclose(mixture.predict_clips(clips), temper(expected, mixture.temperature), atol=1e-6)
    assert len(calls) == 1


def test_clip_order_and_batch_size_do_not_matter(predictor, tiny_table):
    clips = clips_of(tiny_table, range(20))
    together = predictor.predict_clips(clips)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([predictor.predict_clips([clip]) for clip in reversed(clips)])[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(("threshold", "unsure"), [(0.0, False), (1.0, True)])
def test_an_answer_is_unsure_below_the_threshold_of_the_checkpoint(fitted, tiny_table, tmp_path, threshold, unsure):
    path = checkpoint.save(tmp_path / "x", [fitted], unsure_below=threshold, metrics={}, data={})
    predictor = Predictor.open(path, device="cpu")
    rows = predictor.predict_clips(clips_of(tiny_table, range(2)))
    assert predictor._prediction("alpha.00000", [0.0, 30.0], rows).unsure is unsure


def test_no_clips_give_no_rows(predictor):
    assert predictor.predict_clips([]).shape == (0, 3)


def test_members_are_mixed_by_their_weights_and_tempered(fitted, tiny_table, tmp_path):
    other = dataclasses.replace(fitted, model=_scrambled(fitted.model))
    path = checkpoint.save(tmp_path / "x", [fitted, other], weights=[3, 1], temperature=2.0, metrics={}, data={})
    clips = clips_of(tiny_table, range(6))
    single = [
        Predictor.open(checkpoint.save(tmp_path / str(i), [member], metrics={}, data={}), device="cpu").predict_clips(
            clips
        )
        for i, member in enumerate((fitted, other))
    ]
    expected = temper(0.75 * single[0] + 0.25 * single[1], 2.0)
    np.testing.assert_allclose(Predictor.open(path, device="cpu").predict_clips(clips), expected, atol=1e-5)


def _scrambled(model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.output.weight.copy_(other.output.weight.flip(0))
    return other


def test_a_track_is_the_mean_of_its_clips(predictor, tiny_table, tracks_as_clips):
    prediction = predictor.predict(Track(id="alpha.00000"))
    expected = predictor.predict_clips(clips_of(tiny_table, [0, 1]))
    np.testing.assert_allclose(prediction.probabilities, expected.mean(axis=0), atol=1e-6)
    assert [clip.start_s for clip in prediction.clips] == [0.0, 30.0]
    assert prediction.labels == predictor.labels


def test_bad_tracks_get_their_error_in_place_and_the_others_their_answers(predictor, tracks_as_clips):
    ids = ["alpha.00000", "bad", "beta.00001", "cut", "long", *[f"gamma.{i:05d}" for i in range(2, 44, 3)]]
    answers = predictor.predict_many([Track(id=name) for name in ids])
    assert len(answers) == len(ids)
    for name, answer in zip(ids, answers, strict=True):
        if name in ("bad", "cut"):
            assert isinstance(answer, TrackError)
            assert answer.track == name
        else:
            expected = predictor.predict(Track(id=name))
            assert answer.track == name
            np.testing.assert_allclose(answer.probabilities, expected.probabilities, atol=1e-5)
            assert len(answer.clips) == len(expected.clips)


def test_no_tracks_give_no_answers(predictor):
    assert predictor.predict_many([]) == []


def test_a_long_track_is_predicted_in_pieces_while_it_is_read(predictor, tracks_as_clips, monkeypatch):
    sizes = []
    plain = Predictor.predict_clips

    def recorded(self, clips):
        sizes.append(len(clips))
        return plain(self, clips)

    monkeypatch.setattr(Predictor, "predict_clips", recorded)
    assert len(predictor.predict(Track(id="long")).clips) == 40
    assert sizes == [16, 16, 8]


def test_embeddings_have_the_members_widths_side_by_side(fitted, tiny_table, tmp_path):
    path = checkpoint.save(tmp_path / "x", [fitted, fitted], metrics={}, data={})
    embeddings = Predictor.open(path, device="cpu").embed_clips(clips_of(tiny_table, range(3)))
    assert embeddings.shape == (3, 32)
    np.testing.assert_array_equal(embeddings[:, :16], embeddings[:, 16:])


def test_warming_up_answers_once(predictor, monkeypatch):
    asked = []
    monkeypatch.setattr(Predictor, "predict_clips", lambda self, clips: asked.extend(clips))
    predictor.warm_up()
    assert [clip.spectrogram.shape for clip in asked] == [(1, 16, 334)]
    assert asked[0].features.shape == (57,)


def test_threads_and_unknown_devices():
    before = torch.get_num_threads()
    try:
        open_device("cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ConfigError, match="expected: auto, cpu"):
        open_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"cuda is not there.*remedy"):
        open_device("cuda")
