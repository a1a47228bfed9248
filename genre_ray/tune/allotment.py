"""What a trial or a fit takes of the cluster. Knows nothing about what it does with it."""

import ray

from genre_ray.tune.config import TuneConfig


def resources(config: TuneConfig) -> dict[str, float]:
    """CPUs and GPUs of one trial; `auto` takes a quarter of a GPU where the cluster has one."""
    gpus = config.resources.gpus
    if gpus == "auto":
        available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 0.25 if available.get("GPU", 0) >= 1 else 0.0
    return {"cpu": config.resources.cpus, "gpu": gpus}
