"""Networks: shapes, what they draw, and that folding changes nothing."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from genre_ray import models
from genre_ray.config import CnnConfig, HybridConfig, MlpConfig
from genre_ray.errors import ConfigError
from genre_ray.models import Cnn

PICTURE = (1, 32, 48)
SMALL_CNN = CnnConfig(width=4, stages=3, hidden=8)


def build(config, picture=PICTURE, n_labels=5):
    torch.manual_seed(0)
    return models.build(config, picture_shape=picture, n_features=57, n_labels=n_labels)


def layers_in_order(model, batch):
    seen = []
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.Linear, nn.Dropout, models.cnn.Pooling)
    for layer in model.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda layer, *_: seen.append(type(layer).__name__))
    model(*batch)
    return seen


def test_the_reports_cnn_has_its_14_layers():
    model = build(CnnConfig(stages=5, convs_per_stage=1, batch_norm=False, pooling="flatten"), (3, 128, 128))
    layers = layers_in_order(model.eval(), (torch.zeros(1, 3, 128, 128), None))
    assert layers == ["Conv2d", "MaxPool2d"] * 5 + ["Pooling", "Linear", "Dropout", "Linear"]
    assert len(layers) == 14
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def test_the_reports_mlp_has_three_dense_layers_with_dropout_between():
    model = build(MlpConfig())
    layers = layers_in_order(model.eval(), (None, torch.zeros(1, 57)))
    assert layers == ["Linear", "Dropout", "Linear", "Dropout", "Linear"]


def test_the_hybrid_ends_in_dense_dropout_dense():
    model = build(HybridConfig(cnn=SMALL_CNN))
    layers = layers_in_order(model.eval(), (torch.zeros(1, *PICTURE), torch.zeros(1, 57)))
    assert layers[-3:] == ["Linear", "Dropout", "Linear"]


@pytest.mark.parametrize("pooling", ["flatten", "mean", "mean_max", "time"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_cnn_maps_a_batch_to_logits_and_embeddings(pooling, residual, batch_norm):
    config = SMALL_CNN.model_copy(update={"pooling": pooling, "residual": residual, "batch_norm": batch_norm})
    model = build(config)
    batch = torch.randn(3, *PICTURE)
    assert model(batch, None).shape == (3, 5)
    assert model.embed(batch, None).shape == (3, model.embedding_width)


def test_mlp_and_hybrid_map_a_batch_to_logits_and_embeddings():
    picture, features = torch.randn(3, *PICTURE), torch.randn(3, 57)
    for config in (MlpConfig(width=16), HybridConfig(cnn=SMALL_CNN, mlp=MlpConfig(width=16, batch_norm=True))):
        model = build(config)
        assert model(picture, features).shape == (3, 5)
        assert model.embed(picture, features).shape == (3, model.embedding_width)


def test_an_mlp_of_one_layer_is_linear():
    model = build(MlpConfig(layers=1)).eval()
    a, b = torch.randn(2, 1, 57)
    zero = model(None, torch.zeros(1, 57))
    torch.testing.assert_close(model(None, a + b) - zero, model(None, a) + model(None, b) - 2 * zero)


def test_every_weight_of_the_hybrid_takes_part():
    model = build(HybridConfig(cnn=SMALL_CNN, dropout=0.0))
    model(torch.randn(4, *PICTURE), torch.randn(4, 57)).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_relu_after_pooling_equals_relu_before_it():
    stage = build(SMALL_CNN.model_copy(update={"batch_norm": False})).stages[0].eval()
    x = torch.randn(2, *PICTURE)
    expected = nn.functional.max_pool2d(stage.convolutions(x).relu(), 2)
    torch.testing.assert_close(stage(x), expected)


@pytest.mark.parametrize("pooling", ["flatten", "mean_max", "time"])
@pytest.mark.parametrize("residual", [False, True])
def test_a_first_convolution_with_stride_halves_the_picture_rounded_up(pooling, residual):
    config = SMALL_CNN.model_copy(update={"stride": 2, "pooling": pooling, "residual": residual})
    model = build(config, (1, 33, 47))
    assert model(torch.zeros(2, 1, 33, 47), None).shape == (2, 5)
    assert model.stages[0](torch.zeros(2, 1, 33, 47)).shape == (2, 4, 8, 12)


def test_a_strided_residual_network_trains_without_touching_foreign_memory():
    """With a strided shortcut convolution the process died: oneDNN wrote beyond a buffer (seen with torch 2.13)."""
    script = """
import torch
from genre_ray import models
from genre_ray.config import CnnConfig
config = CnnConfig(width=24, stages=2, stride=2, residual=True)
model = models.build(config, picture_shape=(1, 128, 128), n_features=57, n_labels=5)
model = model.to(memory_format=torch.channels_last)
for _ in range(5):
    model(torch.randn(32, 1, 128, 128).to(memory_format=torch.channels_last), None).square().mean().backward()
"""
    checked = {**os.environ, "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=checked, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("residual", [False, True])
def test_folding_batch_norm_changes_nothing_but_rounding(residual):
    config = HybridConfig(
        cnn=SMALL_CNN.model_copy(update={"residual": residual, "convs_per_stage": 2}),
        mlp=MlpConfig(width=16, batch_norm=True),
    )
    model = build(config)
    picture, features = torch.randn(8, *PICTURE), torch.randn(8, 57)
    for _ in range(5):
        model(picture, features)  # gives the running statistics something to say
    folded = models.fold_batch_norm(model)
    model.eval()
    assert not any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(picture, features), model(picture, features), atol=1e-5, rtol=0)


def test_folding_leaves_the_model_alone():
    model = build(SMALL_CNN)
    models.fold_batch_norm(model)
    assert model.training
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) == 3


def test_describe_lists_each_layer_with_its_shape_and_counts_all_parameters():
    model = build(HybridConfig(cnn=SMALL_CNN))
    table = models.describe(model)
    lines = table.splitlines()
    assert f"{sum(p.numel() for p in model.parameters()):,}" in lines[-1]
    conv = next(line for line in lines if line.startswith("cnn.stages.0.convolutions.0"))
    assert "Conv2d" in conv
    assert "4 x 32 x 48" in conv
    assert model.training, "describing a model must not change its mode"


def test_more_stages_than_the_picture_has_halves_are_refused():
    with pytest.raises(ConfigError, match=r"6 stages.*at most 5"):
        build(CnnConfig(stages=6))


def test_a_network_without_its_input_is_refused():
    with pytest.raises(ConfigError, match="spectrogram"):
        models.build(CnnConfig(), picture_shape=None, n_features=57, n_labels=5)
    with pytest.raises(ConfigError, match="features"):
        models.build(MlpConfig(), picture_shape=PICTURE, n_features=None, n_labels=5)


def test_width_doubles_up_to_the_limit():
    model = build(CnnConfig(width=4, max_width=8, stages=4))
    assert isinstance(model, Cnn)
    assert [stage.convolutions[0].out_channels for stage in model.stages] == [4, 8, 8, 8]


def test_pooling_over_time_keeps_rows_of_frequency_apart():
    from genre_ray.models.cnn import Pooling

    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    found = Pooling("time")(x)
    assert found.shape == (2, 2 * 3 * 4)
    assert torch.equal(found[:, :12], x.mean(dim=3).flatten(1))
    assert torch.equal(found[:, 12:], x[..., -1].flatten(1))


def test_a_dropped_branch_says_nothing_and_only_in_training():
    config = HybridConfig(branch_dropout=0.9, dropout=0.0, cnn={"dropout": 0.0}, mlp={"dropout": 0.0})
    model = models.build(config, picture_shape=(1, 32, 32), n_features=7, n_labels=3)
    pictures, rows = torch.rand(64, 1, 32, 32), torch.rand(64, 7)
    torch.manual_seed(0)
    model.train()
    joined = []
    model.hidden.register_forward_hook(lambda layer, inputs, output: joined.append(inputs[0].detach()))
    model(pictures, rows)
    sight, row = joined[0][:, :128].abs().sum(dim=1) == 0, joined[0][:, 128:].abs().sum(dim=1) == 0
    assert sight.any()
    assert row.any()
    assert not (sight & row).any()
    model.eval()
    assert torch.equal(model(pictures, rows), model(pictures, rows))
    assert (joined[-1].abs().sum(dim=1) > 0).all()
