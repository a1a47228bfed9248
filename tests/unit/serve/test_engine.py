import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from genre_ray import models
from genre_ray.config import CnnConfig, MlpConfig
from genre_ray.errors import CheckpointNotFoundError, ConfigError, TrackError
from genre_ray.inference import Predictor
from genre_ray.schema import Clip, Track
from genre_ray.serve import quickening
from genre_ray.serve.engine import TOGETHER, Answered, Engine
from genre_ray.serve.protocol import Inquiry, Options
from genre_ray.serve.settings import ServeArgs, UserConfig, find_checkpoint
from genre_ray.shipped import FOLDERS


@pytest.fixture
def track(figure: bytes, features: dict[str, float]) -> Track:
    return Track(id="t", figure=figure, features=np.array(list(features.values())))


def test_the_engine_answers_as_the_predictor_of_training_does(engine: Engine, checkpoint: Path, track: Track) -> None:
    expected = Predictor.open(checkpoint, device="cpu").predict(track)
    answered = engine.answer(track, Options())
    np.testing.assert_allclose(answered.prediction.probabilities, expected.probabilities, atol=1e-5)
    assert answered.version == engine.version


def test_several_inquiries_are_answered_as_each_alone_and_a_bad_one_is_its_own_error(
    engine: Engine, track: Track
) -> None:
    other = Track(id="o", figure=track.figure, features=track.features + 1)
    bad = Track(id="bad", figure=b"no picture", features=track.features)
    asked = [Inquiry(track, Options()), Inquiry(bad, Options()), Inquiry(other, Options(top_k=1))]
    asked.append(Inquiry(track, Options(explain=True)))
    first, error, second, explained = engine.answer_many(asked)
    assert isinstance(error, TrackError)
    assert isinstance(first, Answered)
    assert isinstance(second, Answered)
    assert isinstance(explained, Answered)
    for found, inquiry in ((first, asked[0]), (second, asked[2]), (explained, asked[3])):
        alone = engine.answer(inquiry.track, inquiry.options)
        np.testing.assert_allclose(found.prediction.probabilities, alone.prediction.probabilities, atol=1e-6)
        assert (found.version, found.options, found.prediction.track) == (
            alone.version,
            inquiry.options,
            inquiry.track.id,
        )
        assert set(found.stages) == set(alone.stages)
        assert len(found.clips) == 1
    assert explained.explanation is not None


def test_several_inquiries_have_one_model_though_another_takes_over_meanwhile(
    engine: Engine, other_checkpoint: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, clips = engine.version, engine._clips

    def exchanged(*args: object) -> list[Clip]:
        engine.reconfigure(UserConfig(checkpoint=str(other_checkpoint)), default=engine.checkpoint)
        return clips(*args)

    monkeypatch.setattr(engine, "_clips", exchanged)
    answers = engine.answer_many([Inquiry(track, Options())] * 2)
    assert [answer.version for answer in answers] == [version, version] != [engine.version] * 2


def test_the_service_goes_by_the_threshold_of_the_checkpoint_unless_its_settings_name_another(
    engine: Engine, checkpoint: Path, track: Track
) -> None:
    assert engine.answer(track, Options()).prediction.unsure_below == Predictor.open(checkpoint).unsure_below
    strict = Engine(ServeArgs(checkpoint=str(checkpoint), device="cpu", unsure_below=1.0), str(checkpoint))
    assert strict.answer(track, Options()).prediction.unsure


def test_a_good_checkpoint_takes_over(engine: Engine, other_checkpoint: Path, track: Track) -> None:
    before = engine.answer(track, Options())
    assert engine.reconfigure(UserConfig(checkpoint=str(other_checkpoint)), default=engine.checkpoint)
    after = engine.answer(track, Options())
    assert after.version != before.version
    assert engine.refused is None


def test_null_goes_back_to_the_checkpoint_of_the_arguments(
    engine: Engine, checkpoint: Path, other_checkpoint: Path
) -> None:
    first = engine.version
    engine.reconfigure(UserConfig(checkpoint=str(other_checkpoint)), default=str(checkpoint))
    engine.reconfigure(UserConfig(), default=str(checkpoint))
    assert engine.version == first


def test_a_bad_checkpoint_is_refused_and_the_old_one_goes_on(
    engine: Engine, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(checkpoint, tmp_path / "bad")
    next((tmp_path / "bad").glob("*.safetensors")).write_bytes(b"rubbish")
    version = engine.version
    with caplog.at_level(logging.ERROR):
        assert not engine.reconfigure(UserConfig(checkpoint=str(tmp_path / "bad")), default=str(checkpoint))
    assert engine.version == version
    assert engine.refused is not None
    assert engine.refused["checkpoint"].endswith("bad")
    assert "refused" in caplog.text


def test_other_labels_are_refused_unless_they_are_allowed(engine: Engine, checkpoint: Path, write_other: Path) -> None:
    assert not engine.reconfigure(UserConfig(checkpoint=str(write_other)), default=str(checkpoint))
    assert "another question" in (engine.refused or {})["reason"]
    wanted = UserConfig(checkpoint=str(write_other), allow_new_labels=True)
    assert engine.reconfigure(wanted, default=str(checkpoint))
    assert engine.labels == ("a", "b", "c")


def test_a_batch_with_a_bad_item_answers_the_others(engine: Engine, track: Track) -> None:
    clips = engine.clips(track)
    misfit = [Clip(track="bad", spectrogram=np.zeros((1, 5, 5), np.uint8), features=np.zeros(57))]
    first, bad, last = engine.forward_many([("a", clips), ("bad", misfit), ("b", clips)])
    assert isinstance(bad, Exception)
    assert not isinstance(first, Exception)
    assert not isinstance(last, Exception)
    np.testing.assert_array_equal(first[0].probabilities, last[0].probabilities)


def test_what_the_model_lacks_is_named(engine: Engine, figure: bytes) -> None:
    with pytest.raises(TrackError, match="features"):
        engine.answer(Track(id="t", figure=figure), Options())


def test_without_a_checkpoint_the_command_that_makes_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FOLDERS, "default", tmp_path / "package/default_checkpoint")
    with pytest.raises(CheckpointNotFoundError, match=r"python -m genre_ray\.tune"):
        find_checkpoint(ServeArgs(results=str(tmp_path)))
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        find_checkpoint(ServeArgs(checkpoint=str(tmp_path / "nowhere")))


def test_the_newest_result_is_found(tmp_path: Path) -> None:
    import os

    for age, name in ((2000, "old"), (1000, "new")):
        (tmp_path / name / "best").mkdir(parents=True)
        os.utime(tmp_path / name / "best", (1e9 - age, 1e9 - age))
    assert find_checkpoint(ServeArgs(results=str(tmp_path))) == str((tmp_path / "new/best").resolve())


@pytest.mark.parametrize("backend", ["torchscript", "onnx"])
def test_another_backend_gives_the_probabilities_of_eager_torch(backend: str, checkpoint: Path, track: Track) -> None:
    if backend == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnx and onnxruntime")
    eager = Predictor.open(checkpoint, device="cpu", threads=1)
    quick = Predictor.open(checkpoint, device="cpu", threads=1)
    assert quickening.quicken(quick, backend) == backend
    np.testing.assert_allclose(quick.predict(track).probabilities, eager.predict(track).probabilities, atol=1e-5)


def test_a_mixture_with_a_support_vector_machine_takes_a_backend_for_its_networks(track: Track) -> None:
    """The shipped checkpoint holds a machine, which neither TorchScript nor ONNX can run."""
    path = find_checkpoint(ServeArgs(results="nowhere"))
    eager = Predictor.open(path, device="cpu", threads=1)
    quick = Predictor.open(path, device="cpu", threads=1)
    assert quickening.quicken(quick, "torchscript") == "torchscript"
    changed = [new.model is not old.model for new, old in zip(quick.members, eager.members, strict=True)]
    assert all(changed)
    np.testing.assert_allclose(quick.predict(track).probabilities, eager.predict(track).probabilities, atol=1e-5)


def test_the_warm_up_of_figures_answers_as_many_at_once_as_ever_are(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, seen = engine.answer_many, []
    monkeypatch.setattr(engine, "answer_many", lambda asked: seen.append(answer(asked)))
    engine.warm_figure()
    assert [len(answers) for answers in seen] == list(range(1, TOGETHER + 1))
    assert all(isinstance(answered, Answered) for answers in seen for answered in answers)


@pytest.mark.parametrize("kind", ["cnn", "mlp"])
def test_networks_of_one_input_agree_by_every_way_and_stay_in_evaluation_mode(kind: str) -> None:
    """The exporter to ONNX once left them in training mode, and eager torch answered with dropout."""
    shape, width = ((1, 32, 32), None) if kind == "cnn" else (None, 9)
    config = CnnConfig(stages=2) if kind == "cnn" else MlpConfig()
    network = models.build(config, picture_shape=shape, n_features=width, n_labels=3).eval()
    for name in ("torchscript", "onnx"):
        assert quickening._built(name, network) is not None
        assert not any(module.training for module in network.modules())


def test_a_backend_that_disagrees_is_not_used(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quickening._BUILDERS, "torchscript", lambda eager, inputs: lambda *x: eager(*x) + 1.0)
    monkeypatch.setitem(quickening._BUILDERS, "onnx", lambda eager, inputs: None)
    predictor = Predictor.open(checkpoint, device="cpu", threads=1)
    assert quickening.quicken(predictor, "auto") == "eager"
    with pytest.raises(ConfigError, match="torchscript"):
        quickening.quicken(predictor, "torchscript")
