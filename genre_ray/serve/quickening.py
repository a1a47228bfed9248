"""The same network run faster on a CPU: each way is tried when a replica starts, and the fastest that agrees is kept.

Knows nothing about requests or Ray.
"""

import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from genre_ray.augment import window_starts
from genre_ray.errors import ConfigError
from genre_ray.inference import Member, Predictor
from genre_ray.models import Network, kernel_ridge, svm
from genre_ray.models.estimator import Estimator
from genre_ray.models.kernel_ridge import KernelRidge
from genre_ray.models.svm import Svm
from genre_ray.schema import FIGURE_COLUMNS

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-3
"""Of logits, by their size. In single precision a kernel machine of 800 vectors is off by 2e-4, run either way."""
_ROUNDS, _RUNS = 3, 4
_BATCHES = (1, 3)

Inputs = tuple[Tensor | None, Tensor | None]
Way = Callable[..., Tensor]


def quicken(predictor: Predictor, backend: str) -> str:
    """Let `predictor` run its members by `backend`, for `auto` by the fastest of all; the name of what was taken.

    On a GPU nothing changes. A way that cannot be built, or whose outputs are not those of eager torch within 1e-3 for
    several batch sizes, is left out; ConfigError when it was asked for by name. `backend` is about networks of layers:
    kernel machines have a way of their own, and other estimators stay as they are.
    """
    if predictor.device.type != "cpu" or backend == "eager":
        return "eager"
    taken = [_quickened(member, backend) for member in predictor.members]
    networks = [name for member, (_, name) in zip(predictor.members, taken, strict=True) if _is_layered(member.model)]
    if backend != "auto" and set(networks) - {backend}:
        raise ConfigError(
            f"the backend {backend} cannot run this model",
            remedy="set args.backend: auto; for onnx: pip install 'genre_ray[onnx]'",
        )
    predictor.members = tuple(member for member, _ in taken)
    names = [name for _, name in taken]
    logger.info("the members run by %s", ", ".join(names))
    return min(networks or names)


def _is_layered(network: Network) -> bool:
    return not isinstance(network, Estimator)


def _quickened(member: Member, backend: str) -> tuple[Member, str]:
    if _is_layered(member.model):
        wanted = ["torchscript", "onnx"] if backend == "auto" else [backend]
    else:
        wanted = ["arrays"] if isinstance(member.model, Svm | KernelRidge) else []
    built = {name: _built(name, member.model) for name in wanted}
    ways = {"eager": member.model} | {name: way for name, way in built.items() if way is not None}
    asked_for = backend != "auto" and backend in ways
    best = backend if asked_for else _fastest(ways, _noise(member.model, _windows(member)))
    return replace(member, model=ways[best]), best


def _windows(member: Member) -> int:
    """How many windows of one figure go through the network."""
    return 1 if member.model.picture_shape is None else len(window_starts(FIGURE_COLUMNS, member.augment))


def _built(name: str, eager: Network) -> Network | None:
    """The network by way of `name`, or None when it cannot be built or does not agree."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript goes one day: eager and ONNX stay
            way = _BUILDERS[name](eager, _used(eager, *_noise(eager, 1)))
        if way is None:
            return None
        run = _Run(way, eager)
        with torch.inference_mode():
            for size in _BATCHES:
                inputs = _noise(eager, size)
                expected = eager(*inputs)
                difference = float((run(*inputs) - expected).abs().max())
                if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
                    logger.warning("%s differs from eager by %.2g and is not used", name, difference)
                    return None
    except Exception:
        logger.warning("the network cannot be run by %s", name, exc_info=True)
        return None
    return cast(Network, run)


class _Run(nn.Module):
    """Another way's forward pass over the inputs that are there, and the eager network's embedding."""

    def __init__(self, way: Way, eager: Network) -> None:
        super().__init__()
        self._way = way
        self._eager = eager
        self.picture_shape, self.n_features = eager.picture_shape, eager.n_features

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        return self._way(*_used(self._eager, spectrogram, features))

    def embed(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Hidden layer (B, H)."""
        return self._eager.embed(spectrogram, features)


class _SpectrogramOnly(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, spectrogram: Tensor) -> Tensor:
        logits: Tensor = self.network(spectrogram, None)
        return logits


class _FeaturesOnly(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network(None, features)
        return logits


def _used(network: Network, spectrogram: Tensor | None, features: Tensor | None) -> tuple[Tensor, ...]:
    """The inputs that the network looks at."""
    pairs = ((network.picture_shape, spectrogram), (network.n_features, features))
    return tuple(tensor for shape, tensor in pairs if shape is not None and tensor is not None)


def _narrowed(network: Network) -> nn.Module:
    """The network as a module of tensors only: what traces and exports take."""
    narrowed: nn.Module = network
    if network.n_features is None:
        narrowed = _SpectrogramOnly(network)
    elif network.picture_shape is None:
        narrowed = _FeaturesOnly(network)
    # A new module is in training mode, and ONNX's exporter puts it back there, network and all, when it is done.
    return narrowed.eval()


def _torchscript(eager: Network, inputs: tuple[Tensor, ...]) -> Way | None:
    """Traced, frozen, and fused for this processor."""
    with torch.inference_mode():
        traced = torch.jit.trace(_narrowed(eager), inputs, check_trace=False)  # type: ignore[no-untyped-call]
        quick: Way = torch.jit.optimize_for_inference(traced)
        for _ in range(3):  # the first passes specialise
            quick(*inputs)
    return quick


def _onnx(eager: Network, inputs: tuple[Tensor, ...]) -> Way | None:
    """ONNX Runtime, on as many threads as torch has here."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return None
    import onnxruntime  # optional: pip install genre_ray[onnx]

    names = [f"input{i}" for i in range(len(inputs))]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "network.onnx")
        torch.onnx.export(
            _narrowed(eager),
            inputs,
            path,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch"} for name in [*names, "logits"]},
            dynamo=False,  # the newer exporter takes ten times as long
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(*tensors: Tensor) -> Tensor:
        arrays = {name: tensor.contiguous().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, arrays)[0])

    return run


def _arrays(eager: Network, inputs: tuple[Tensor, ...]) -> Way | None:
    """A kernel machine by NumPy."""
    assert isinstance(eager, Svm | KernelRidge)
    answer = kernel_ridge.by_arrays(eager) if isinstance(eager, KernelRidge) else svm.by_arrays(eager)
    return lambda features: torch.from_numpy(answer(features.numpy()))


_BUILDERS: dict[str, Callable[[Network, tuple[Tensor, ...]], Way | None]] = {
    "torchscript": _torchscript,
    "onnx": _onnx,
    "arrays": _arrays,
}


def _fastest(ways: dict[str, Network], inputs: Inputs) -> str:
    """By the least processor time of several rounds, turn about, so that a busy moment hits all alike."""
    costs = dict.fromkeys(ways, float("inf"))
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                way(*inputs)
                start = time.thread_time()
                for _ in range(_RUNS):
                    way(*inputs)
                costs[name] = min(costs[name], time.thread_time() - start)
    return min(costs, key=costs.__getitem__)


def _noise(network: Network, size: int) -> Inputs:
    """Noise of the shapes that the network was built for, `size` at once."""
    generator = np.random.default_rng(size)
    spectrogram = features = None
    if network.picture_shape is not None:
        values = torch.from_numpy(generator.normal(size=(size, *network.picture_shape)).astype(np.float32))
        spectrogram = values.to(memory_format=torch.channels_last)
    if network.n_features is not None:
        features = torch.from_numpy(generator.normal(size=(size, network.n_features)).astype(np.float32))
    return spectrogram, features
