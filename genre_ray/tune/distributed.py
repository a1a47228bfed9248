"""A trial, or a final fit, trained together by several workers: Ray Train's worker group and process group under a
class Trainable.

The trial's own process never trains; it sends the workers from epoch to epoch, so ASHA sees each one, the workers stay
warm from trial to trial, and a worker that dies is noticed at once and not when a collective call times out. A
TorchTrainer inside a trial would start a controller and all workers anew for each trial. Knows nothing about Optuna.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError
from ray.train._internal.worker_group import RayTrainWorker, WorkerGroup
from ray.train.torch import TorchConfig
from ray.util.placement_group import PlacementGroup
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genre_ray.clips import Clips
from genre_ray.config import RunConfig
from genre_ray.errors import DivergedError, WorkerLostError
from genre_ray.fitted import Fitted
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.trainable import TrialTrainable
from genre_ray.tune.trainers import FoldState, FoldTrainers, Parts

logger = logging.getLogger(__name__)

_GRACE_S = 5.0
"""How long the other workers have to end a call after one of them has raised."""

State = dict[str, bytes]
"""The files that hold the state of every fold, by their path in a checkpoint."""


class TrainingWorker(RayTrainWorker):
    """One of several processes that train together; the others are reached through torch.distributed."""

    def __init__(self, table: Clips, parts: Parts | None, labels: Sequence[str], threads: int) -> None:
        self._given = (table, parts, labels)
        self._threads = threads
        self._trainers: FoldTrainers | None = None

    def begin(self, run: RunConfig) -> None:
        """Start `run`; the folds are cut at the first one, when the process group stands."""
        if self._trainers is None:
            shard = (torch.distributed.get_rank(), torch.distributed.get_world_size())
            self._trainers = FoldTrainers(*self._given, threads=self._threads, shard=shard, wrap=in_parallel)
        self._trainers.begin(run)

    def run_epoch(self) -> list[FoldState] | DivergedError:
        """One epoch; a divergence is seen by all workers alike, and is an answer and not a failure."""
        assert self._trainers is not None
        try:
            return self._trainers.run_epoch()
        except DivergedError as error:
            return error

    def state(self) -> State:
        """The state as files, since this process may run on another node than the trial's."""
        assert self._trainers is not None
        with tempfile.TemporaryDirectory(prefix="genre-ray-") as folder:
            self._trainers.save(Path(folder))
            return read_state(Path(folder))

    def restore(self, state: State) -> list[FoldState]:
        """Go on from `state`. RunError when it is damaged or of another configuration."""
        assert self._trainers is not None
        with tempfile.TemporaryDirectory(prefix="genre-ray-") as folder:
            write_state(state, Path(folder))
            return self._trainers.load(Path(folder))

    def fitted(self) -> list[Fitted]:
        """The models as they stand."""
        assert self._trainers is not None
        return self._trainers.fitted()


def in_parallel(model: nn.Module) -> nn.Module:
    """The model with gradients averaged over the workers; on GPUs, batch normalisation over the global batch."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        return model  # nothing that gradients could change
    if parameters[0].is_cuda:
        # Layer by layer in place: `model` itself keeps its identity, and its state dict its names.
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model)


class DistributedTrainers:
    """Trainers (see `trainers.Trainers`) on a group of workers, as many as there are bundles.

    `table` is a reference, so that each node fetches the clips once. WorkerLostError from any call when a worker's
    process or node is gone; the group is closed then.
    """

    def __init__(
        self,
        table: "ray.ObjectRef[Clips]",
        parts: Parts | None,
        labels: Sequence[str],
        *,
        bundles: Sequence[dict[str, float]],
        placement_group: PlacementGroup | str = "default",
    ) -> None:
        threads = max(1, int(bundles[0].get("CPU", 1)))
        self._size = len(bundles)
        self._group: WorkerGroup | None = None
        try:
            self._group = WorkerGroup(
                num_workers=self._size,
                resources_per_worker=bundles[0],
                actor_cls=TrainingWorker,
                actor_cls_args=(table, parts, labels, threads),
                placement_group=placement_group,
            )
            self._group.sort_workers_by_node_id_and_gpu_id()
            # NCCL refuses two workers on one GPU, gloo does not.
            backend = TorchConfig(backend="nccl" if bundles[0].get("GPU", 0) >= 1 else "gloo")
            backend.backend_cls().on_start(self._group, backend)
        except RayActorError as error:
            raise self._lost(error) from error

    def begin(self, run: RunConfig) -> None:
        """Start `run` on all workers."""
        self._all("begin", run)

    def run_epoch(self) -> list[FoldState]:
        """One epoch; the states of worker 0, which all share."""
        answer = self._all("run_epoch")[0]
        if isinstance(answer, DivergedError):
            raise answer
        states: list[FoldState] = answer
        return states

    def save(self, directory: Path) -> None:
        """The state of every fold: worker 0's, which all share."""
        write_state(self.state(), directory)

    def load(self, directory: Path) -> list[FoldState]:
        """Go on where `save`, here or in a single process, left off."""
        return self.restore(read_state(directory))

    def state(self) -> State:
        """What `restore` takes."""
        state: State = self._first("state")
        return state

    def restore(self, state: State) -> list[FoldState]:
        """Hand `state` to all workers."""
        states: list[FoldState] = self._all("restore", ray.put(state))[0]
        return states

    def fitted(self) -> list[Fitted]:
        """The models of worker 0, which all share."""
        models: list[Fitted] = self._first("fitted")
        return models

    def close(self) -> None:
        """End the workers."""
        if self._group is not None:
            self._group.shutdown(patience_s=0)
            self._group = None

    @property
    def closed(self) -> bool:
        """Whether the workers are gone."""
        return self._group is None

    @property
    def _actors(self) -> list[Any]:
        if self._group is None:
            raise WorkerLostError("the workers of this fit are gone", remedy="start the fit again from its last state")
        return [worker.actor for worker in self._group.workers]

    def _first(self, method: str) -> Any:
        try:
            return ray.get(getattr(self._actors[0], method).remote())
        except RayActorError as error:
            raise self._lost(error) from error

    def _all(self, method: str, *args: Any) -> list[Any]:
        """Call every worker. The first that fails decides, since the others may wait for it in a collective call."""
        calls = [getattr(actor, method).remote(*args) for actor in self._actors]
        waiting = calls
        try:
            while waiting:
                ready, waiting = ray.wait(waiting)
                ray.get(ready)
        except RayActorError as error:
            raise self._lost(error) from error
        except Exception:
            _, stuck = ray.wait(calls, num_returns=len(calls), timeout=_GRACE_S)
            if stuck:
                self.close()
            raise
        return list(ray.get(calls))

    def _lost(self, error: RayActorError) -> WorkerLostError:
        self.close()
        return WorkerLostError(
            f"one of {self._size} workers was lost",
            found=str(error).strip().splitlines()[0],
            remedy="a search goes on by itself from the last saved epoch; if it happens often, look at memory",
        )


class DistributedTrial(TrialTrainable):
    """A trial on several workers; for Tune, the searcher and the checkpoint no different from any other."""

    def setup(  # type: ignore[override]  # with_parameters passes the rest by keyword
        self,
        config: dict[str, Any],
        *,
        table: Sequence["ray.ObjectRef[Clips]"],
        parts: Parts,
        labels: Sequence[str],
        tune_config: dict[str, Any],
        trials_folder: str,
        bundles: Sequence[dict[str, float]],
    ) -> None:
        """Start the workers and begin the trial. `table` holds one reference: a bare one Tune would resolve."""
        self._tune_config = TuneConfig.model_validate(tune_config)
        self._open(DistributedTrainers(table[0], parts, labels, bundles=bundles), labels, trials_folder)
        self._begin(config)


def fit_together(
    run: RunConfig,
    table: Sequence["ray.ObjectRef[Clips]"],
    labels: Sequence[str],
    bundles: Sequence[dict[str, float]],
    placement_group: PlacementGroup,
) -> Fitted:
    """One fit on all of `table` by several workers. WorkerLostError when one is lost: call it again."""
    trainers = DistributedTrainers(table[0], None, labels, bundles=bundles, placement_group=placement_group)
    try:
        trainers.begin(run)
        while not all(state.finished for state in trainers.run_epoch()):
            pass
        return trainers.fitted()[0]
    finally:
        trainers.close()


def read_state(folder: Path) -> State:
    """Every file below `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_state(state: State, folder: Path) -> None:
    """The inverse of `read_state`."""
    for name, content in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
