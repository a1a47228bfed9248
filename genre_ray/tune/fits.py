"""The final fits, side by side on the cluster, each in one process or on several workers.

Knows nothing about trials.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from genre_ray.clips import Clips
from genre_ray.config import RunConfig
from genre_ray.errors import WorkerLostError
from genre_ray.fitted import Fitted
from genre_ray.training import fit
from genre_ray.tune.allotment import bundles, resources
from genre_ray.tune.config import TuneConfig

Key = tuple[str, int]
"""What tells the fits apart: a name and a seed."""

_RETRIES = 3
"""How often a fit whose process or worker was lost is started again."""


def fit_all(
    config: TuneConfig, runs: Mapping[Key, RunConfig], table: Clips, labels: Sequence[str]
) -> Iterator[tuple[Key, Fitted]]:
    """Fit every run on all of `table`, as many at a time as there is room for; each is given out when it ends."""
    shared = ray.put(table)
    pending: dict[Any, tuple[Key, PlacementGroup | None]] = {}
    for key, run in runs.items():
        call, group = _start(config, run, shared, labels)
        pending[call] = key, group
    while pending:
        ready, _ = ray.wait(list(pending))
        key, group = pending.pop(ready[0])
        fitted = ray.get(ready[0])
        if group is not None:
            remove_placement_group(group)
        yield key, fitted


def _start(config: TuneConfig, run: RunConfig, table: Any, labels: Sequence[str]) -> tuple[Any, PlacementGroup | None]:
    """Start a fit: the reference to its result, and the placement group to remove afterwards."""
    if config.resources.workers == 1:
        share = resources(config)
        alone: Any = ray.remote(_fit_alone).options(num_cpus=share["cpu"], num_gpus=share["gpu"], max_retries=_RETRIES)
        return alone.remote(run, table, labels, max(1, int(share["cpu"]))), None
    from genre_ray.tune.distributed import fit_together  # Ray Train takes a second to import

    # The group belongs to this process, so that a fit that is started again finds its room reserved.
    group = placement_group(bundles(config), strategy="PACK")
    together: Any = ray.remote(fit_together).options(
        num_cpus=0, max_retries=_RETRIES, retry_exceptions=[WorkerLostError]
    )
    return together.remote(run, [table], labels, bundles(config), group), group


def _fit_alone(run: RunConfig, table: Clips, labels: Sequence[str], threads: int) -> Fitted:
    return fit(run, table, labels=labels, threads=threads)
