"""The trainers of a trial, one a fold, in step with each other. Knows nothing about Ray, Optuna or the test part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from genre_ray.clips import Clips
from genre_ray.config import RunConfig
from genre_ray.training import EpochResult, Fitted, Trainer

Parts = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Train and validation track ids, one pair a fold."""

Wrap = Callable[[nn.Module], nn.Module]
"""Puts a network into what averages the gradients of several workers."""


@dataclass(frozen=True, slots=True)
class FoldState:
    """How far one fold has come; `kept` is the epoch whose weights its trainer keeps."""

    last: EpochResult
    kept: EpochResult
    finished: bool


class Trainers(Protocol):
    """What trains one configuration on every fold: in this process, or on several workers."""

    def begin(self, run: RunConfig) -> None:
        """Forget what was, and start `run` at its first epoch."""

    def run_epoch(self) -> list[FoldState]:
        """One epoch of every fold that is not finished. DivergedError when a loss is not finite."""

    def save(self, directory: Path) -> None:
        """The state of every fold, each in a folder of its own."""

    def load(self, directory: Path) -> list[FoldState]:
        """Go on where `save` left off. RunError when the state is missing, damaged, or of another configuration."""

    def fitted(self) -> list[Fitted]:
        """The models as they stand."""

    def close(self) -> None:
        """Give back what is held outside of this process."""


class FoldTrainers:
    """Trainers in this process; with `shard` = (rank, size), its slice of what `size` processes train together."""

    def __init__(
        self,
        table: Clips,
        parts: Parts | None,
        labels: Sequence[str],
        *,
        threads: int,
        shard: tuple[int, int] = (0, 1),
        wrap: Wrap | None = None,
    ) -> None:
        """Cut the folds once; without `parts`, one fold takes the whole table and has no validation part."""
        self._folds: list[tuple[Clips, Clips | None]]
        if parts is None:
            self._folds = [(table, None)]
        else:
            self._folds = [(table.part(train), table.part(validation)) for train, validation in parts]
        self._labels, self._threads, self._shard, self._wrap = tuple(labels), threads, shard, wrap
        self._trainers: list[Trainer] = []

    def begin(self, run: RunConfig) -> None:
        """See Trainers."""
        self._trainers = [
            Trainer(
                run,
                train,
                validation,
                labels=self._labels,
                threads=self._threads,
                shard=self._shard,
                wrap=self._wrap,
            )
            for train, validation in self._folds
        ]

    def run_epoch(self) -> list[FoldState]:
        """See Trainers."""
        for trainer in self._trainers:
            if not trainer.finished:
                trainer.run_epoch()
        return self._states()

    def save(self, directory: Path) -> None:
        """See Trainers."""
        for number, trainer in enumerate(self._trainers):
            trainer.save(directory / f"fold-{number}")

    def load(self, directory: Path) -> list[FoldState]:
        """See Trainers."""
        for number, trainer in enumerate(self._trainers):
            trainer.load(directory / f"fold-{number}")
        return self._states()

    def fitted(self) -> list[Fitted]:
        """See Trainers."""
        return [trainer.fitted() for trainer in self._trainers]

    def close(self) -> None:
        """See Trainers."""
        self._trainers = []

    def _states(self) -> list[FoldState]:
        return [FoldState(trainer.history[-1], _kept(trainer), trainer.finished) for trainer in self._trainers]


def _kept(trainer: Trainer) -> EpochResult:
    """The epoch whose weights the trainer keeps: the last, or the one of the lowest validation loss so far."""
    if trainer.config.training.keep == "last":
        return trainer.history[-1]
    return min(trainer.history, key=lambda result: (result.validation_loss, result.epoch))
