"""Evaluation under a protocol: every split under every seed, side by side on Ray, resumable.

Knows nothing about searches. What one run does is in `genre_ray.experiment`.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import ray

from genre_ray.clips import Clips, ClipTable
from genre_ray.config import InputConfig, RunConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import Catalog, Need, open_catalog
from genre_ray.data.pipeline import prepare
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.data.splits import make_splits
from genre_ray.data.streaming import StreamingConfig
from genre_ray.errors import GenreRayError, RunError
from genre_ray.experiment import Calibration, Experiment, Parts, Recipe, run_experiment
from genre_ray.intervals import Summary
from genre_ray.progress import duration
from genre_ray.report import RunResult, write_report
from genre_ray.report.page import decimal, interval_text, write_whole
from genre_ray.report.runs import pool, summary_of

logger = logging.getLogger(__name__)

_RUNS = "runs"
_GPU_SHARE = 0.25  # small networks: four fits side by side keep one GPU busy


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All runs of a finished evaluation, in the order of splits and seeds, and where they lie."""

    folder: Path
    runs: tuple[RunResult, ...]
    summary: Mapping[str, Summary]

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    def text(self) -> str:
        """A table for a terminal: each run beside its leaks, then the means with their intervals."""
        width = max(len(run.name) for run in self.runs)
        lines = [f"{'':<{width}}  accuracy  95 % interval     macro F1    ECE  leaks"]
        for run in self.runs:
            s = run.scores
            line = f"{run.name:<{width}}  {s.accuracy:8.3f}  {interval_text(s.accuracy_interval):<16}"
            lines.append(f"{line}  {s.macro_f1:8.3f}  {s.ece:5.3f}  {run.leaks}")
        pooled = pool(self.runs)
        mean, f1, error = (self.summary[name] for name in ("accuracy", "macro_f1", "ece"))
        middle = f"{'mean':<{width}}  {mean.mean:8.3f}  {interval_text(mean.interval):<16}"
        lines.append(f"{middle}  {f1.mean:8.3f}  {error.mean:5.3f}")
        fitted = " or ".join(dict.fromkeys(run.fitted_on for run in self.runs))
        lines += [
            f"interval: {mean.basis}; deviation {decimal(mean.std)}; fitted on {fitted}",
            f"macro F1 95 % {interval_text(f1.interval)}; ECE over all runs together {decimal(pooled.scores.ece)} "
            f"(if the probabilities were true: {decimal(pooled.ece_of_perfect)})",
        ]
        if len({run.split for run in self.runs}) > 1:
            over = interval_text(pooled.scores.accuracy_interval)
            lines.append(
                f"over other tracks of the same kind: accuracy {over} (Wilson, {pooled.tracks} different tracks)"
            )
        return "\n".join(lines)


def evaluate(
    data: str | Path,
    config: RunConfig | Recipe,
    protocol: ProtocolConfig,
    *,
    output: Path,
    seeds: Sequence[int] = (42,),
    fitted_on: Parts = "train + validation",
    calibration: Calibration = "validation",
    resume: bool = True,
    address: str | None = None,
    cache: str | None = None,
    cpus: int = 1,
    streaming: StreamingConfig | None = None,
    title: str | None = None,
    stream: TextIO = sys.stderr,
) -> Evaluation:
    """Fit `config` on every split of `protocol` under every seed, score each test part once, and write the report.

    `fitted_on` says what the scored fit sees, `calibration` where the temperature comes from. Each run is a Ray task
    of `cpus` cores (and a share of a GPU where there are any); its result lies under `output` as soon as it is there,
    so that with `resume` the same call goes on where it was stopped. Results of other settings in the same folder are
    left alone. `streaming` says when clips come as a stream. RunError when runs failed: the others are kept.
    """
    recipe = config if isinstance(config, Recipe) else Recipe.of(config)
    with connect(address):
        catalog, table = open_prepared(data, recipe.inputs, cache=cache, stream=stream, streaming=streaming)
        splits = make_splits(catalog, protocol)
        experiments = [
            Experiment(
                recipe=recipe.seeded(seed),
                split=split,
                seed=seed,
                labels=catalog.labels,
                fitted_on=fitted_on,
                calibration=calibration,
                fingerprint=catalog.fingerprint(),
                streamed=not isinstance(table, ClipTable),
            )
            for split in splits
            for seed in seeds
        ]
        runs = _run_all(experiments, table, output / _RUNS, resume=resume, cpus=cpus, stream=stream)
    finished = Evaluation(output, runs, summary_of(runs))
    write_report(
        finished.report,
        title=title or f"{protocol.name}, {len(runs)} runs",
        runs=runs,
        config={"recipe": recipe.to_json(), "protocol": protocol.model_dump(mode="json"), "seeds": list(seeds)},
        data=corpus_facts(catalog),
        faults=catalog.with_faults(fault for split in splits for fault in split.faults(catalog)).faults,
    )
    return finished


def open_prepared(
    data: str | Path,
    inputs: InputConfig,
    *,
    cache: str | None,
    stream: TextIO,
    labels: Sequence[str] | None = None,
    streaming: StreamingConfig | None = None,
) -> tuple[Catalog, Clips]:
    """The catalog of the tracks that can give `inputs`, and their clips, in memory or as a stream."""
    wanted: dict[Need, object] = {"spectrogram": inputs.spectrogram, "features": inputs.features}
    catalog = open_catalog(data, need=[name for name, part in wanted.items() if part is not None], labels=labels)
    prepared = prepare(catalog, inputs, cache=cache, stream=stream)
    stream.write(f"{prepared.catalog.summary()}\n{prepared.catalog.fault_report()}\n")
    return prepared.catalog, prepared.clips_for(streaming or StreamingConfig())


def corpus_facts(catalog: Catalog) -> dict[str, object]:
    """What a report says about its corpus."""
    return {
        "corpus": f"{Path(catalog.root).name} ({catalog.kind})",
        "tracks": len(catalog),
        "genres": len(catalog.labels),
        "duplicate groups": len(catalog.duplicate_groups),
        "fingerprint": catalog.fingerprint()[:16],
    }


def _run_all(
    experiments: Sequence[Experiment], table: Clips, folder: Path, *, resume: bool, cpus: int, stream: TextIO
) -> tuple[RunResult, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, RunResult] = {}
    for experiment in experiments if resume else ():
        stored = _stored(_place(folder, experiment))
        if stored is not None:
            done[experiment.digest()] = stored
    if done:
        stream.write(f"{len(done)} of {len(experiments)} runs are there already\n")
    missing = [experiment for experiment in experiments if experiment.digest() not in done]
    failed = _run_missing(missing, table, folder, done, cpus=cpus, stream=stream)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(experiments)} runs failed",
            found="; ".join(f"{name}: {_brief(error)}" for name, error in list(failed.items())[:3]),
            remedy="mend the cause and run the same command again: finished runs are kept",
        )
    return tuple(done[experiment.digest()] for experiment in experiments)


def _run_missing(
    missing: Sequence[Experiment],
    table: Clips,
    folder: Path,
    done: dict[str, RunResult],
    *,
    cpus: int,
    stream: TextIO,
) -> dict[str, Exception]:
    """Run them as Ray has room, each result written as it comes into `done` and `folder`; the failures by name."""
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = _GPU_SHARE if cluster.get("GPU", 0) >= 1 else 0
    task: Any = ray.remote(  # Any: Ray's types know neither keyword arguments nor an absent reference
        num_cpus=cpus, num_gpus=gpus, max_retries=3
    )(run_experiment)
    shared = ray.put(table) if missing else None
    pending: dict[Any, Experiment] = {task.remote(e, shared, threads=cpus): e for e in missing}
    failed: dict[str, Exception] = {}
    started, total = time.monotonic(), len(pending)
    try:
        while pending:
            ready, _ = ray.wait(list(pending))
            experiment = pending.pop(ready[0])
            try:
                result: RunResult = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                failed[experiment.name] = _cause(error)
                stream.write(f"  {experiment.name}: failed: {_brief(failed[experiment.name])}\n")
                continue
            write_whole(_place(folder, experiment), json.dumps(result.to_json()))
            done[experiment.digest()] = result
            _tell(result, total - len(pending), total, time.monotonic() - started, stream)
    except KeyboardInterrupt:
        for reference in pending:
            ray.cancel(reference, force=True)
        stream.write("\nstopped; the same command goes on from here\n")
        raise
    return failed


def _tell(result: RunResult, count: int, total: int, elapsed_s: float, stream: TextIO) -> None:
    s = result.scores
    left = f", about {duration(elapsed_s / count * (total - count))} left" if count < total else ""
    stream.write(
        f"  {count}/{total} {result.name}: accuracy {s.accuracy:.3f}, macro F1 {s.macro_f1:.3f}, ECE {s.ece:.3f}, "
        f"{duration(result.seconds)}{left}\n"
    )
    stream.flush()


def _cause(error: ray.exceptions.RayError) -> Exception:
    """The error of the task itself, where Ray only wraps it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _brief(error: Exception) -> str:
    return str(error) if isinstance(error, GenreRayError) else f"{type(error).__name__}: {error}"


def _place(folder: Path, experiment: Experiment) -> Path:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", experiment.name).strip("-")
    return folder / f"{slug}-{experiment.digest()}.json"


def _stored(place: Path) -> RunResult | None:
    try:
        return RunResult.from_json(json.loads(place.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s) and is run again", place, error)
        return None
