"""What a trial or a fit takes of the cluster. Knows nothing about what it does with it."""

import ray
from ray.tune import PlacementGroupFactory

from genre_ray.tune.config import TuneConfig


def resources(config: TuneConfig) -> dict[str, float]:
    """CPUs and GPUs of one worker.

    `auto` takes a quarter of a GPU where the cluster has one, and a whole one for each of several workers: they would
    only wait for each other on the same.
    """
    gpus = config.resources.gpus
    if gpus == "auto":
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        share = 0.25 if config.resources.workers == 1 else 1.0
        gpus = share if available.get("GPU", 0) >= 1 else 0.0
    return {"cpu": config.resources.cpus, "gpu": gpus}


def bundles(config: TuneConfig) -> list[dict[str, float]]:
    """What each worker of a trial takes, in the words of a placement group."""
    share = resources(config)
    each = {name: amount for name, amount in (("CPU", share["cpu"]), ("GPU", share["gpu"])) if amount}
    return [dict(each) for _ in range(config.resources.workers)]


def request(config: TuneConfig) -> dict[str, float] | PlacementGroupFactory:
    """What Tune reserves for a trial; of several workers, the trial's own process takes nothing and only waits."""
    if config.resources.workers == 1:
        return resources(config)
    return PlacementGroupFactory([{}, *bundles(config)], strategy="PACK")
