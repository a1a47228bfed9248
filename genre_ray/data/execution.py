"""Shards through Ray Data: spread over the cluster, tried again when a machine is lost. Knows nothing of what is done.

What a worker makes goes straight to the store; through Ray go only the tracks' paths and, back, the list of what was
made. So neither the object store nor the driver ever holds the corpus, and a finished shard is safe at once.
"""

import logging
import pickle
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy
from ray.exceptions import RayError
from ray.util.debug import log_once

from genre_ray.data import transport
from genre_ray.data.shards import Process, Shard, Work, complete, forget
from genre_ray.data.store import Entry, Store
from genre_ray.data.telemetry import WorkTelemetry
from genre_ray.errors import GenreRayError, RunError

logger = logging.getLogger(__name__)

_SEEN_WITHIN_S = 30.0
_SETTLED_WITHIN_S = 3.0
_RESULT = pa.schema(
    [
        ("shard", pa.string()),
        ("track", pa.string()),
        ("key", pa.string()),
        ("first", pa.int64()),
        ("rows", pa.int64()),
        ("kind", pa.string()),
        ("message", pa.string()),
        ("refusal", pa.binary()),
    ]
)
"""What a task returns: a row an entry; or one row with an error of ours, pickled, since Ray keeps only its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """Workers that keep what `Work.open` gave them: for work that has a model to load."""

    count: int
    """Each holds one CPU."""

    num_gpus: float = 0.0
    """Share of a GPU that each holds."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished shard."""

    name: str
    entries: tuple[Entry, ...]


def run(shards: Sequence[Shard], work: Work, store: Store, *, actors: Actors | None = None) -> Iterator[Done]:
    """Complete `shards` in parallel and yield each as it is finished, in any order. Ray must be up.

    Without `actors`, tasks: they need no start of their own and use what the cluster has, and will have. RunError when
    the store cannot be written, or what the workers write does not arrive here.
    """
    if not shards:
        return
    name = uuid4().hex[:12]
    telemetry = WorkTelemetry(type(work).__name__)
    first = True
    if not _has_a_free_cpu():
        logger.warning("all CPUs of the cluster are taken; work on the tracks begins when one comes free")
    try:
        with _quiet():
            for done in _results(_dataset(shards, work, store, name, actors)):
                if first:
                    _require_shared(store, done.name)
                    first = False
                telemetry.finished(done.entries)
                yield done
    except RayError as error:
        raise RunError("the workers failed", found=_gist(error), remedy="see the workers' logs") from error
    finally:
        forget(name)


def cpus() -> int:
    """CPUs of the cluster as it is now."""
    return max(1, int(_resources().get("CPU", 1)))


def gpus() -> float:
    """GPUs of the cluster as it is now."""
    return _resources().get("GPU", 0.0)


def _has_a_free_cpu() -> bool:
    """Whether work can begin; what was given back a moment ago is seen a moment later."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while not ray.available_resources().get("CPU", 0.0):  # type: ignore[no-untyped-call]  # Ray's own annotations
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own annotations
    return resources


def _dataset(shards: Sequence[Shard], work: Work, store: Store, run: str, actors: Actors | None) -> Any:
    dataset: Any = ray.data.from_arrow([_block(shard) for shard in shards])  # a block a shard, a task a block
    context = dataset.context
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data's budget holds tasks back by the memory of their outputs; ours are lists of a few kilobytes. Without it,
    # tasks queue up at the scheduler, and a core that comes free goes on at once instead of after 0.2 s.
    context.op_resource_reservation_enabled = False
    arguments = {"work": work, "store": store, "run": run}
    options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "zero_copy_batch": True, "num_cpus": 1}
    if actors is None:
        return dataset.map_batches(_complete_block, fn_kwargs=arguments, **options)
    pool = ActorPoolStrategy(size=actors.count, max_tasks_in_flight_per_actor=2)
    if actors.num_gpus:
        options["num_gpus"] = actors.num_gpus
    return dataset.map_batches(_Worker, fn_constructor_kwargs=arguments, compute=pool, **options)


def _block(shard: Shard) -> pa.Table:
    table = transport.to_arrow(shard.tracks)
    table = table.append_column("key", pa.array(shard.keys, pa.string()))
    return table.append_column("shard", pa.array([shard.name] * len(shard.tracks), pa.string()))


def _complete_block(block: pa.Table, *, work: Work, store: Store, run: str) -> pa.Table:
    return _completed(block, work.open(), work, store, run)


class _Worker:
    """Opens the work once and completes one shard after the other."""

    def __init__(self, *, work: Work, store: Store, run: str) -> None:
        self._work, self._store, self._run = work, store, run
        self._opened: Process | GenreRayError
        try:
            self._opened = work.open()
        except GenreRayError as error:
            self._opened = error  # said with the first shard; raised here, Ray would start the actor again and again

    def __call__(self, block: pa.Table) -> pa.Table:
        if isinstance(self._opened, GenreRayError):
            return _refusal(self._opened)
        return _completed(block, self._opened, self._work, self._store, self._run)


def _completed(block: pa.Table, process: Process, work: Work, store: Store, run: str) -> pa.Table:
    shard = Shard(block["shard"][0].as_py(), tuple(transport.from_arrow(block)), tuple(block["key"].to_pylist()))
    try:
        entries = complete(shard, process, work, store, run=run)
    except GenreRayError as error:
        return _refusal(error)
    return pa.Table.from_pylist([{"shard": shard.name, **asdict(entry)} for entry in entries], schema=_RESULT)


def _refusal(error: GenreRayError) -> pa.Table:
    return pa.Table.from_pylist([{"refusal": pickle.dumps(error)}], schema=_RESULT)


def _results(dataset: Any) -> Iterator[Done]:
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        by_shard: dict[str, list[Entry]] = {}
        for row in batch.to_pylist():
            refusal = row.pop("refusal")
            if refusal is not None:
                raise pickle.loads(refusal)  # noqa: S301 - written by our own worker a moment ago
            by_shard.setdefault(row.pop("shard"), []).append(Entry(**row))
        for name, entries in by_shard.items():
            yield Done(name, tuple(entries))


def _require_shared(store: Store, name: str) -> None:
    """Workers on other machines must write where this one reads; a network file system may need a moment."""
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not store.has(name):
        if time.monotonic() > deadline:
            raise RunError(
                f"what the workers write to {store.location} does not arrive here",
                found="a folder that each machine has for itself",
                expected="storage that all machines of the cluster share",
                remedy="give a URI such as s3://bucket/prefix, or a mounted folder",
            )
        time.sleep(0.5)


def _gist(error: RayError) -> str:
    """The line of Ray's text that names the exception in the worker; the last line where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (named or lines or [type(error).__name__])[0 if named else -1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data's own lines about each execution say nothing to people who asked for tracks."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    log_once("ray_data_progress_manager_disabled")  # counts as said: its advice to turn its bars on again
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
