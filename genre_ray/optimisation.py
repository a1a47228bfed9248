"""What moves the weights: optimiser, learning-rate schedule, weight average. Knows nothing about data."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from genre_ray.config import TrainingConfig

_WARM_UP = 0.3  # share of the steps in which the one-cycle rate rises (Smith and Topin 2019; torch's OneCycleLR)
_INITIAL_DIVISOR = 25.0
_FINAL_DIVISOR = 1e4


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay spares biases and batch normalisation, which are one-dimensional."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    spared = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


class Schedule:
    """The learning rate of each step: a pure function of the step, and for `plateau` of the losses so far."""

    def __init__(self, config: TrainingConfig, steps: int) -> None:
        self._config = config
        self._steps = steps
        self._factor = 1.0
        self._best = math.inf
        self._stale = 0

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        peak = self._config.learning_rate
        match self._config.schedule:
            case "cosine":
                return peak * _cosine(step / max(1, self._steps))
            case "one_cycle":
                return self._one_cycle(step)
            case _:
                return peak * self._factor

    def _one_cycle(self, step: int) -> float:
        peak = self._config.learning_rate
        first, last = peak / _INITIAL_DIVISOR, peak / _INITIAL_DIVISOR / _FINAL_DIVISOR
        top = max(1.0, _WARM_UP * self._steps - 1)
        if step <= top:
            return peak + (first - peak) * _cosine(step / top)
        return last + (peak - last) * _cosine((step - top) / max(1.0, self._steps - 1 - top))

    def epoch_done(self, loss: float) -> None:
        """Tell the loss that `plateau` watches: halve the rate after patience / 2 epochs without gain."""
        if loss < self._best:
            self._best, self._stale = loss, 0
            return
        self._stale += 1
        if self._config.schedule == "plateau" and self._stale >= max(1, self._config.patience // 2):
            self._factor, self._stale = self._factor / 2, 0

    def state(self) -> dict[str, float]:
        """What `restore` needs."""
        return {"factor": self._factor, "best": self._best, "stale": self._stale}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._factor, self._best, self._stale = state["factor"], state["best"], state["stale"]


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


class WeightAverage:
    """Exponential moving average of the weights per step (Polyak and Juditsky 1992), short-sighted in the first steps.

    The running statistics of batch normalisation are averaged like the weights they belong to: statistics of the last
    step would not fit the averaged weights before them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._current = model.state_dict()  # shares memory with the weights, which are only ever changed in place
        self._average = {name: value.clone() for name, value in self._current.items()}
        self._floats = [name for name, value in self._current.items() if value.is_floating_point()]
        self._counters = [name for name in self._current if name not in set(self._floats)]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        averaged, current = ([of[name] for name in self._floats] for of in (self._average, self._current))
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for name in self._counters:
            self._average[name].copy_(self._current[name])

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict, not a copy."""
        return self._average

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"steps": self._steps, "average": self._average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._steps = state["steps"]
        for name, value in state["average"].items():
            self._average[name].copy_(value)
