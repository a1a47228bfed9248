"""The convolutional network over the spectrogram. Knows nothing about features or training.

Shapes: B batch, C channels, H rows (frequency), W columns (time), D hidden width, L labels.

    x_BCHW -> stage -> stage -> ... -> pooling -> dense D -> ReLU -> dropout -> dense L
    stage:  [conv 3x3 -> (batch norm) -> ReLU] x convs_per_stage -> (+ input) -> max pool 2x2

The report's CNN of 14 layers is stages=5, convs_per_stage=1, batch_norm=False, pooling="flatten":
five times convolution and pooling, flatten, dense, dropout, dense.
"""

import torch
from torch import Tensor, nn

from genre_ray.config import CnnConfig
from genre_ray.errors import ConfigError
from genre_ray.models.network import Network


class Cnn(Network):
    """Stages of convolution and pooling, then two dense layers; the first one's output is the embedding."""

    def __init__(self, config: CnnConfig, *, picture_shape: tuple[int, int, int], n_labels: int) -> None:
        super().__init__()
        channels, rows, columns = picture_shape
        rows, columns = -(-rows // config.stride), -(-columns // config.stride)
        if min(rows, columns) >> config.stages == 0:
            raise ConfigError(
                f"model.stages: {config.stages} stages halve a picture of {rows} x {columns} to nothing",
                expected=f"at most {min(rows, columns).bit_length() - 1} stages",
                remedy="take fewer stages, or a larger picture or crop",
            )
        widths = [min(config.width << stage, config.max_width) for stage in range(config.stages)]
        self.stages = nn.Sequential(
            *(
                Stage(i, o, config, stride=config.stride if stage == 0 else 1)
                for stage, (i, o) in enumerate(zip([channels, *widths[:-1]], widths, strict=True))
            )
        )
        self.pooling = Pooling(config.pooling)
        pooled = {
            "flatten": widths[-1] * (rows >> config.stages) * (columns >> config.stages),
            "mean": widths[-1],
            "mean_max": 2 * widths[-1],
            "time": 2 * widths[-1] * (rows >> config.stages),
        }[config.pooling]
        self.hidden = nn.Linear(pooled, config.hidden)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, n_labels)
        self.embedding_width = config.hidden
        self.picture_shape = picture_shape

    def embed(self, spectrogram: Tensor | None, features: Tensor | None = None) -> Tensor:
        """(B, D) from (B, C, H, W)."""
        assert spectrogram is not None
        pooled_BP = self.pooling(self.stages(spectrogram))
        embedding_BD: Tensor = self.activation(self.hidden(pooled_BP))
        return embedding_BD

    def forward(self, spectrogram: Tensor | None, features: Tensor | None = None) -> Tensor:
        """Logits (B, L)."""
        logits_BL: Tensor = self.output(self.dropout(self.embed(spectrogram, features)))
        return logits_BL


class Stage(nn.Module):
    """3 x 3 convolutions with ReLU, then pooling by 2; residual: the input is added before the last ReLU."""

    def __init__(self, channels: int, width: int, config: CnnConfig, *, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(config.convs_per_stage):
            inputs, step = (channels, stride) if i == 0 else (width, 1)
            # A bias before batch normalisation would be subtracted again.
            layers.append(nn.Conv2d(inputs, width, 3, stride=step, padding=1, bias=not config.batch_norm))
            layers += [nn.BatchNorm2d(width)] if config.batch_norm else []
            layers += [nn.ReLU()] if i < config.convs_per_stage - 1 else []
        self.convolutions = nn.Sequential(*layers)
        self.shortcut: nn.Module | None = None
        if config.residual:
            # Averaged, then convolved: a 1 x 1 convolution with stride 2 over one channel, channels last, overruns its
            # memory in torch 2.13 on CPUs with AMX or AVX-512 (oneDNN); and no pixel is left out (ResNet-D).
            shortcut: list[nn.Module] = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
            shortcut += [nn.Conv2d(channels, width, 1)] if channels != width else []
            self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, width, H // 2, W // 2), each first divided by the stride and rounded up."""
        y_BCHW = self.convolutions(x_BCHW)
        if self.shortcut is not None:
            y_BCHW = y_BCHW + self.shortcut(x_BCHW)
        # ReLU and max pooling commute; after the pooling ReLU has a quarter of the work.
        pooled_BCHW: Tensor = self.activation(self.pool(y_BCHW))
        return pooled_BCHW


class Pooling(nn.Module):
    """The last feature map as a vector: all of it, or its mean and maximum over time, or over time and frequency."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C * H * W), (B, C), (B, 2 * C) or, over time alone, (B, 2 * C * H)."""
        if self.form == "flatten":
            return x_BCHW.flatten(1)
        if self.form == "time":
            return torch.cat([x_BCHW.mean(dim=3).flatten(1), x_BCHW.amax(dim=3).flatten(1)], dim=1)
        mean_BC = x_BCHW.mean(dim=(2, 3))
        return mean_BC if self.form == "mean" else torch.cat([mean_BC, x_BCHW.amax(dim=(2, 3))], dim=1)

    def extra_repr(self) -> str:
        """What `print(model)` shows in the brackets."""
        return self.form
