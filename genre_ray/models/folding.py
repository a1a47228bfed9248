"""Batch normalisation folded into the layer before it, for prediction. Knows nothing about which networks there are."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

N = TypeVar("N", bound=nn.Module)


def fold_batch_norm(model: N) -> N:
    """A copy of `model` for prediction only: each convolution or dense layer takes in the normalisation after it.

    In evaluation mode batch normalisation is one scale and shift per channel, so the result is the same function up to
    rounding (Jacob et al. 2018, section 3.2). The copy is in evaluation mode.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold_in(module)
    return folded


def _fold_in(layers: nn.Sequential) -> None:
    for i in range(len(layers) - 1):
        first, second = layers[i], layers[i + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            layers[i], layers[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
        elif isinstance(first, nn.Linear) and isinstance(second, nn.BatchNorm1d):
            layers[i], layers[i + 1] = fuse_linear_bn_eval(first, second), nn.Identity()
