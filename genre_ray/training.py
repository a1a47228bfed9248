"""One fit: the Trainer runs epochs and can stop, be saved, and go on as if it had never stopped.

Knows nothing about Ray, files of tracks, or checkpoints for users. What it can do: Adam and AdamW, four schedules,
label smoothing, mixup, SpecAugment, random crops, weight averaging, gradient clipping, early stopping, the last or the
best epoch, bfloat16 on a GPU, and a slice of each batch as one of several data-parallel workers.

Randomness: each epoch has its own generators, derived from (seed, stream, epoch); nothing depends on what ran before.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genre_ray import metrics, models
from genre_ray.clips import Clips
from genre_ray.config import RunConfig, VariantConfig
from genre_ray.device import open_device
from genre_ray.errors import ConfigError, DivergedError, RunError
from genre_ray.fitted import EpochResult, Fitted
from genre_ray.optimisation import Schedule, WeightAverage, build_optimizer
from genre_ray.preprocessing import Preprocessor
from genre_ray.scoring import clip_probabilities, track_means
from genre_ray.streamed import GatheredPart, open_part
from genre_ray.tensors import DROPOUT, DevicePart, Part, Step, generator
from genre_ray.trainer_state import read_state, write_state

__all__ = ["EpochResult", "Fitted", "Trainer", "fit"]

_STATE_FILE = "trainer.pt"


def fit(
    config: RunConfig,
    train: Clips,
    validation: Clips | None = None,
    *,
    labels: Sequence[str],
    report: Callable[[EpochResult], None] | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Fitted:
    """Fit to the end, telling `report` each epoch. Errors as Trainer and `run_epoch`."""
    trainer = Trainer(config, train, validation, labels=labels, device=device, threads=threads)
    while not trainer.finished:
        result = trainer.run_epoch()
        if report is not None:
            report(result)
    return trainer.fitted()


class Trainer:
    """A fit, one epoch at a time.

    `shard` is (rank, size): this worker takes its slice of each global batch, in the one global order, and `wrap` puts
    the network into what averages the gradients (DistributedDataParallel). Without dropout and batch normalisation,
    size workers give the losses of one. The preprocessor is fitted on `train` alone. Clips that come as a stream are
    read anew in each epoch (see `genre_ray.streamed`); each worker then reads its own.
    """

    def __init__(
        self,
        config: RunConfig,
        train: Clips,
        validation: Clips | None,
        *,
        labels: Sequence[str],
        device: str = "auto",
        threads: int | None = None,
        shard: tuple[int, int] = (0, 1),
        wrap: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        _require_usable(config, train, validation, shard)
        self.config, self.labels = config, tuple(labels)
        self.device = open_device(device, threads=threads)
        self.preprocessor = Preprocessor(config.inputs, labels).fit(train)
        self._shard = shard
        pictures_too = models.looks_at_pictures(config.model)
        in_one_go = models.is_fitted_in_one_go(config.model)

        def part(clips: Clips, variants: VariantConfig | None = None) -> Part:
            return open_part(
                clips,
                self.preprocessor,
                self.device,
                pictures_too=pictures_too,
                vectors_needed=in_one_go,
                variants=variants,
            )

        self._train = part(train, config.training.augment.variants)
        self._validation = None if validation is None or not len(validation) else part(validation)
        self.n_features = self._train.n_features
        self.picture_shape = self._train.picture_shape
        if self.picture_shape is not None and config.training.augment.crop_columns is not None:
            self.picture_shape = (*self.picture_shape[:2], config.training.augment.crop_columns)
        self.model = self._build().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # An estimator has no gradients to average: each worker fits it whole.
        self._in_one_go = isinstance(self.model, models.Estimator)
        self._module = self.model if wrap is None or self._in_one_go else wrap(self.model)
        self._optimizer = None if self._in_one_go else build_optimizer(self.model, config.training)
        n_steps = self._train.n_steps(config.training.batch_size, shard)
        self._schedule = Schedule(config.training, n_steps * config.training.epochs)
        decay = config.training.average_decay
        self._average = None if decay is None or self._in_one_go else WeightAverage(self.model, decay)
        self._best: dict[str, Tensor] | None = None
        self._best_loss, self._stale, self._step = math.inf, 0, 0
        self.history: list[EpochResult] = []

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """All epochs are done (an Estimator has one), or early stopping has lost its patience."""
        training = self.config.training
        stopped = training.early_stopping and self._stale >= training.patience
        return self.epoch >= (1 if self._in_one_go else training.epochs) or stopped

    def run_epoch(self) -> EpochResult:
        """One pass over the training part and one over the validation part. DivergedError: the loss is not finite."""
        if self.finished:
            raise RunError("the fit is finished", found=f"{self.epoch} epochs", remedy="take fitted()")
        started = time.perf_counter()
        loss, accuracy = self._fit_estimator() if self._in_one_go else self._train_epoch()
        _require_finite("training", loss, self.epoch + 1)
        validation = self._validate()
        _require_finite("validation", validation[0], self.epoch + 1)
        self._keep(loss, validation[0])
        result = EpochResult(
            epoch=self.epoch + 1,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation[0],
            validation_accuracy=validation[1],
            validation_macro_f1=validation[2],
            learning_rate=0.0 if self._in_one_go else self._schedule.rate(self._step - 1),
            seconds=time.perf_counter() - started,
        )
        self.history.append(result)
        return result

    def fitted(self) -> Fitted:
        """The network with the weights that `training.keep` and `training.average_decay` ask for."""
        model = self._build()
        weights = self._best if self._best is not None else self._current_weights()
        model.load_state_dict({name: value.cpu() for name, value in weights.items()})
        return Fitted(
            config=self.config,
            labels=self.labels,
            preprocessor=self.preprocessor,
            model=model.eval(),
            history=list(self.history),
            picture_shape=self.picture_shape,
            n_features=self.n_features,
        )

    def save(self, directory: str | Path) -> None:
        """Write all that `load` needs to go on bit by bit into `directory`, under a temporary name first."""
        state = {
            "config": self.config.model_dump_json(),
            "step": self._step,
            "model": self.model.state_dict(),
            "optimizer": None if self._optimizer is None else self._optimizer.state_dict(),
            "schedule": self._schedule.state(),
            "average": None if self._average is None else self._average.state(),
            "best": self._best,
            "best_loss": self._best_loss,
            "stale": self._stale,
            "history": [asdict(result) for result in self.history],
        }
        write_state(Path(directory) / _STATE_FILE, state)

    def load(self, directory: str | Path) -> None:
        """Go on from what `save` wrote. RunError when it is missing, damaged, or of another configuration."""
        state = read_state(Path(directory) / _STATE_FILE, self.device)
        if other := _differences(state, self.config):
            raise RunError(
                f"the saved fit in {directory} is of another configuration",
                found=f"differences in {', '.join(other)}",
                remedy="resume with the config it was started with",
            )
        self._step = state["step"]
        self.model.load_state_dict(state["model"])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.restore(state["schedule"])
        if self._average is not None and state["average"] is not None:
            self._average.restore(state["average"])
        self._best, self._best_loss, self._stale = state["best"], state["best_loss"], state["stale"]
        self.history = [EpochResult(**result) for result in state["history"]]

    def _build(self) -> models.Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.training.seed)
            return models.build(
                self.config.model,
                picture_shape=self.picture_shape,
                n_features=self.n_features,
                n_labels=len(self.labels),
            )

    def _fit_estimator(self) -> tuple[float, float]:
        """Fit in one go; the loss and accuracy on the training part itself."""
        assert isinstance(self.model, models.Estimator)
        assert isinstance(self._train, DevicePart | GatheredPart) and self._train.features is not None
        features, every, groups = self._train.vectors()
        self.model.cpu()  # they are fitted by NumPy and scikit-learn
        self.model.fit_vectors(features, every, seed=self.config.training.seed, groups=groups, own=len(self._train))
        self.model.to(self.device)
        targets = self._train.targets.cpu().numpy()
        with torch.inference_mode():
            found = self.model(None, self._train.features).softmax(dim=1).cpu().numpy()
        return metrics.log_loss(found, targets), metrics.accuracy(found, targets)

    def _train_epoch(self) -> tuple[float, float]:
        training = self.config.training
        totals = torch.zeros(2, device=self.device)  # loss and hits: read once an epoch, so that a GPU never waits
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(int(generator(training, DROPOUT + self._shard[0], self.epoch).integers(2**63)))
            self._module.train()
            for step in self._train.steps(training, epoch=self.epoch, shard=self._shard):
                totals += self._train_step(step)
        if self._shard[1] > 1 and torch.distributed.is_initialized():
            torch.distributed.all_reduce(totals)
        loss, hits = (totals / len(self._train)).tolist()
        return loss, hits

    def _train_step(self, step: Step) -> Tensor:
        """One step; the summed loss and the hits of this worker's slice as a tensor (2,)."""
        assert self._optimizer is not None
        training, batch = self.config.training, step.batch
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self._step)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            logits = self._module(batch.spectrogram, batch.features)
        losses = -(batch.targets * logits.float().log_softmax(dim=1)).sum(dim=1) * step.weights
        # The workers' gradients are averaged: times size, that is the mean over the global batch for any slices.
        (losses.sum() * (self._shard[1] / step.samples)).backward()
        if training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), training.gradient_clip)
        self._optimizer.step()
        self._step += 1
        if self._average is not None:
            self._average.update()
        hits = ((logits.argmax(dim=1) == batch.targets.argmax(dim=1)) * step.weights).sum()
        return torch.stack([losses.detach().sum(), hits])

    def _autocast(self) -> torch.autocast:
        wanted = self.config.training.precision == "bfloat16" and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    def _validate(self) -> tuple[float | None, float | None, float | None]:
        """Loss, accuracy and macro F1 over tracks; of several workers, the first one's count for all.

        With batch normalisation each has its own statistics: they could disagree about when to stop, and wait for ever.
        """
        if self._validation is None:
            return None, None, None
        if self._shard[1] == 1 or not torch.distributed.is_initialized():
            return self._figures(self._validation)
        own = self._figures(self._validation) if self._shard[0] == 0 else (0.0, 0.0, 0.0)
        figures = torch.tensor(own, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(figures, src=0)
        return figures[0].item(), figures[1].item(), figures[2].item()

    def _figures(self, part: Part) -> tuple[float, float, float]:
        """Loss, accuracy and macro F1 over tracks, with the averaged weights where there are some."""
        model = self.model
        if self._average is not None:
            model = copy.deepcopy(self.model)
            model.load_state_dict(self._average.weights())
        model.eval()
        parts = []
        with torch.inference_mode(), self._autocast():
            for spectrogram, features in part.batches(512 if self.device.type == "cuda" else 32):
                parts.append(clip_probabilities(model, spectrogram, features, self.config.training.augment))
        clips: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        _, probabilities, first = track_means(part.tracks, clips)
        targets = part.targets.cpu().numpy()[first]
        loss = metrics.log_loss(probabilities, targets) if np.isfinite(probabilities).all() else math.nan
        return loss, metrics.accuracy(probabilities, targets), metrics.macro_f1(probabilities, targets)

    def _keep(self, train_loss: float, validation_loss: float | None) -> None:
        """Tell the schedule, count epochs without gain, and set the best weights aside."""
        # A refit on all tracks has no validation part: its training loss then drives the plateau.
        self._schedule.epoch_done(train_loss if validation_loss is None else validation_loss)
        if validation_loss is None:
            return
        if validation_loss < self._best_loss:
            self._best_loss, self._stale = validation_loss, 0
            if self.config.training.keep == "best":
                self._best = {name: value.clone() for name, value in self._current_weights().items()}
        else:
            self._stale += 1

    def _current_weights(self) -> dict[str, Tensor]:
        return self.model.state_dict() if self._average is None else self._average.weights()


def _differences(state: Mapping[str, Any], config: RunConfig) -> list[str]:
    """The parts of `config` in which a saved fit is another's; states of earlier versions name their network alone."""
    try:
        if "config" not in state:
            saved = RunConfig.model_validate(config.model_dump() | {"model": json.loads(state["model_config"])})
        else:
            saved = RunConfig.model_validate_json(state["config"])
    except ValueError:  # of a version with other fields
        return ["its fields"]
    return [name for name in RunConfig.model_fields if getattr(saved, name) != getattr(config, name)]


def _require_usable(config: RunConfig, train: Clips, validation: Clips | None, shard: tuple[int, int]) -> None:
    training = config.training
    if len(train) < 2:
        raise RunError("too few clips to train on", found=str(len(train)), expected="at least 2")
    if (validation is None or not len(validation)) and (training.early_stopping or training.keep == "best"):
        key = "training.early_stopping" if training.early_stopping else "training.keep: best"
        raise ConfigError(
            f"{key} needs a validation part",
            found="none",
            remedy="give a validation part, or set training.early_stopping to false and training.keep to last",
        )
    crop, shape = training.augment.crop_columns, train.picture_shape
    if crop is not None and shape is not None and crop > shape[2]:
        raise ConfigError(
            f"training.augment.crop_columns: {crop} columns do not fit into the clips",
            found=f"clips of {shape[2]} columns",
            remedy="take a smaller crop or longer clips",
        )
    rank, size = shard
    if not 0 <= rank < size:
        raise ConfigError(f"shard {shard} is not a rank and a size", expected="0 <= rank < size")


def _require_finite(part: str, loss: float | None, epoch: int) -> None:
    if loss is not None and not math.isfinite(loss):
        raise DivergedError(
            f"the {part} loss is {loss} in epoch {epoch}",
            expected="a finite loss",
            remedy="lower training.learning_rate, or set training.gradient_clip to 1.0",
        )
