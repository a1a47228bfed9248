"""A network as a table of its layers. Knows nothing about which networks there are."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from genre_ray.models.estimator import Estimator
from genre_ray.models.network import Network

_PASSIVE = (nn.Identity,)


def describe(model: Network) -> str:
    """One line a layer in the order of a forward pass: name, kind, output shape, parameters; the sum last.

    The network is run once, in evaluation mode, over zeros of the shapes it was built for.
    """
    rows: list[tuple[str, str, str, int]] = []
    hooks = [
        layer.register_forward_hook(_recorder(name, rows))
        for name, layer in model.named_modules()
        if not list(layer.children()) and not isinstance(layer, _PASSIVE)
    ]
    was_training = model.training
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    picture = None if model.picture_shape is None else torch.zeros(1, *model.picture_shape, device=device)
    features = None if model.n_features is None else torch.zeros(1, model.n_features, device=device)
    try:
        with torch.inference_mode():
            model.eval()(picture, features)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    total = _size(model)
    lines = [f"{name:<34} {kind:<14} {shape:<18} {count:>10,}" for name, kind, shape, count in rows]
    header = f"{'layer':<34} {'kind':<14} {'output':<18} {'parameters':>10}"
    return "\n".join([header, *lines, f"{'total':<68} {total:>10,}"])


def _recorder(name: str, rows: list[tuple[str, str, str, int]]) -> Any:
    def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        shape = " x ".join(str(n) for n in output.shape[1:])
        rows.append((name or "all", type(layer).__name__, shape, _size(layer)))

    return record


def _size(module: nn.Module) -> int:
    """Number of parameters; of an estimator, which has none, the numbers that it keeps."""
    kept = module.buffers() if isinstance(module, Estimator) else module.parameters()
    return sum(value.numel() for value in kept)
