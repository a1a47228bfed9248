"""Checkpoints: everything comes back, and what cannot be trusted is refused."""

import copy
import dataclasses
import json
import math

import pytest
import torch

from genre_ray import checkpoint
from genre_ray.abstention import UNSURE_BELOW
from genre_ray.artefact import read_directory, write_directory
from genre_ray.config import RunConfig, parse
from genre_ray.errors import CheckpointDamagedError, CheckpointError, CheckpointFormatError
from genre_ray.training import fit

DATA = {"name": "tiny", "fingerprint": "abc", "protocol": "paper", "leaks": "none", "tracks": 45}


@pytest.fixture
def saved(fitted, tmp_path):
    return checkpoint.save(tmp_path / "best", [fitted], metrics={"accuracy": 0.9}, data=DATA, notes={"from": "test"})


def rewritten(path, change):
    """The checkpoint with its manifest passed through `change` and all checksums right again."""
    files = read_directory(path)
    manifest = json.loads(files["manifest.json"])
    change(manifest, files)
    files["manifest.json"] = json.dumps(manifest).encode()
    write_directory(path, files)
    return path


def test_everything_comes_back(saved, fitted, labels):
    opened = checkpoint.open_checkpoint(saved)
    (member,) = opened.members
    assert (opened.labels, opened.weights, opened.temperature) == (labels, (1.0,), 1.0)
    assert member.config == fitted.config
    assert member.history == fitted.history
    assert member.picture_shape == (1, 16, 24)
    assert member.preprocessor.to_json() == fitted.preprocessor.to_json()
    assert not member.model.training
    for name, value in member.model.state_dict().items():
        assert torch.equal(value, fitted.model.state_dict()[name])
    assert opened.manifest["metrics"] == {"accuracy": 0.9}
    assert opened.manifest["data"] == DATA
    assert opened.manifest["notes"] == {"from": "test"}
    assert opened.manifest["packages"]["torch"] == torch.__version__
    assert len(opened.manifest["feature_columns"]) == 57


def test_the_threshold_of_unsure_answers_travels_with_the_weights_and_has_a_default(saved, fitted, tmp_path):
    plain = checkpoint.open_checkpoint(saved)
    taught = checkpoint.open_checkpoint(
        checkpoint.save(tmp_path / "taught", [fitted], unsure_below=0.625, metrics={}, data={})
    )
    assert (plain.unsure_below, taught.unsure_below) == (UNSURE_BELOW, 0.625)
    assert taught.version != plain.version
    assert "unsure" in (tmp_path / "taught" / "README.md").read_text(encoding="utf-8")


def test_only_safetensors_json_and_the_card_are_written(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "checksums.json",
        "manifest.json",
        "preprocessors.json",
        "weights-0.safetensors",
    ]


def test_the_version_is_that_of_what_decides_the_answers(fitted, tmp_path):
    one = checkpoint.save(tmp_path / "1", [fitted], metrics={}, data={})
    same = checkpoint.save(tmp_path / "2", [fitted], metrics={"accuracy": 1.0}, data=DATA)
    other = checkpoint.save(tmp_path / "3", [fitted], temperature=2.0, metrics={}, data={})
    assert checkpoint.version_of(one) == checkpoint.version_of(same) != checkpoint.version_of(other)
    assert checkpoint.open_checkpoint(one).version == checkpoint.version_of(one)


def test_members_share_one_copy_of_equal_scaling(fitted, tmp_path):
    path = checkpoint.save(tmp_path / "x", [fitted, fitted], weights=[3, 1], metrics={}, data={})
    assert len(json.loads((path / "preprocessors.json").read_text())) == 1
    assert checkpoint.open_checkpoint(path).weights == (0.75, 0.25)


def test_members_may_look_at_different_inputs(fitted, parts, labels, tmp_path):
    run = parse(
        RunConfig,
        {
            "inputs": {"spectrogram": None, "features": {"scaling": "quantile"}},
            "model": {"kind": "mlp"},
            "training": {"epochs": 1},
        },
        origin="test",
    )
    mlp = fit(run, parts[0], labels=labels, device="cpu", threads=1)
    opened = checkpoint.open_checkpoint(checkpoint.save(tmp_path / "x", [mlp, fitted], metrics={}, data={}))
    assert opened.inputs.spectrogram is not None
    assert opened.inputs.features is not None
    assert opened.members[0].config.inputs.spectrogram is None
    assert opened.members[0].preprocessor.to_json() == mlp.preprocessor.to_json()


def test_half_precision_halves_the_weights_and_keeps_vectors(fitted, tmp_path):
    whole = checkpoint.save(tmp_path / "1", [fitted], metrics={}, data={})
    half = checkpoint.save(tmp_path / "2", [fitted], metrics={}, data={}, half=True)
    name = "weights-0.safetensors"
    assert (half / name).stat().st_size < 0.7 * (whole / name).stat().st_size
    state = checkpoint.open_checkpoint(half).members[0].model.state_dict()
    for key, value in fitted.model.state_dict().items():
        torch.testing.assert_close(state[key], value, atol=1e-3, rtol=1e-3)
        assert state[key].dtype == value.dtype
        if value.dim() <= 1:
            assert torch.equal(state[key], value)


def test_metrics_that_are_not_finite_become_null(fitted, tmp_path):
    path = checkpoint.save(tmp_path / "x", [fitted], metrics={"a": math.nan, "b": [math.inf, 1.0]}, data={})
    assert checkpoint.open_checkpoint(path).manifest["metrics"] == {"a": None, "b": [None, 1.0]}


def with_weight(fitted, value):
    model = copy.deepcopy(fitted.model)
    with torch.no_grad():
        model.output.bias[0] = value
    return dataclasses.replace(fitted, model=model)


def test_weights_that_are_not_finite_are_not_written(fitted, tmp_path):
    with pytest.raises(CheckpointError, match="not finite"):
        checkpoint.save(tmp_path / "x", [with_weight(fitted, math.nan)], metrics={}, data={})
    assert not (tmp_path / "x").exists()


def test_weights_that_are_not_finite_are_not_opened(saved, fitted):
    from safetensors.torch import save

    def poison(_manifest, files):
        files["weights-0.safetensors"] = save(with_weight(fitted, math.nan).model.state_dict())

    with pytest.raises(CheckpointDamagedError, match="not finite"):
        checkpoint.open_checkpoint(rewritten(saved, poison))


def test_no_members_or_senseless_weights_are_refused(fitted, tmp_path):
    for members, weights in (([], None), ([fitted], [0.0]), ([fitted], [1.0, 2.0]), ([fitted], [math.nan])):
        with pytest.raises(CheckpointError, match="members with weights"):
            checkpoint.save(tmp_path / "x", members, weights=weights, metrics={}, data={})


def test_members_of_different_labels_are_refused(fitted, tmp_path):
    other = dataclasses.replace(fitted, labels=("x", "y", "z"))
    with pytest.raises(CheckpointError, match="do not fit into one"):
        checkpoint.save(tmp_path / "x", [fitted, other], metrics={}, data={})


@pytest.mark.parametrize("name", ["manifest.json", "preprocessors.json", "weights-0.safetensors", "checksums.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "missing"])
def test_a_damaged_checkpoint_is_refused(saved, name, damage):
    path = saved / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
    with pytest.raises((CheckpointDamagedError, CheckpointFormatError), match=r"expected.*remedy|damaged.*remedy"):
        checkpoint.open_checkpoint(saved)


def test_another_format_version_is_refused(saved):
    def newer(manifest, _files):
        manifest["format_version"] = 99

    with pytest.raises(CheckpointFormatError, match=r"version 99.*expected: genre_ray.checkpoint version 1.*remedy"):
        checkpoint.open_checkpoint(rewritten(saved, newer))


@pytest.mark.parametrize("manifest", [{}, [], {"format": "other", "format_version": 1}])
def test_a_foreign_manifest_is_refused(tmp_path, manifest):
    write_directory(tmp_path / "x", {"manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(CheckpointFormatError):
        checkpoint.open_checkpoint(tmp_path / "x")


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    write_directory(tmp_path / "x", {"a.json": b"{}"})
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        checkpoint.open_checkpoint(tmp_path / "x")


@pytest.mark.parametrize(
    "change",
    [
        lambda m, f: m.pop("members"),
        lambda m, f: m["labels"].append("delta"),
        lambda m, f: m["members"][0]["config"]["model"].update(hidden=99),
        lambda m, f: m["members"][0]["config"]["model"].update(colour="red"),
        lambda m, f: m["members"][0].update(preprocessor=7),
        lambda m, f: m["members"][0].update(weights="weights-9.safetensors"),
        lambda m, f: f.update({"weights-0.safetensors": b"not safetensors"}),
        lambda m, f: f.update({"preprocessors.json": b"["}),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(saved, change):
    with pytest.raises(CheckpointDamagedError, match="do not fit together"):
        checkpoint.open_checkpoint(rewritten(saved, change))
