"""A search from start to finish: data, trials, final fit, report; resumable at any point.

Knows nothing about the command line.
"""

import errno
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import ray
import ray.tune
import yaml
from ray.tune.error import TuneError

from genre_ray.connection import check_address, connect
from genre_ray.errors import CatalogError, ConfigError, RunError, SplitError
from genre_ray.events import say
from genre_ray.tune import study as records
from genre_ray.tune.allotment import bundles, request
from genre_ray.tune.config import TuneConfig, load
from genre_ray.tune.corpus import SPLIT, Corpus, open_corpus
from genre_ray.tune.final import finish
from genre_ray.tune.halving import make_scheduler, remark
from genre_ray.tune.mirror import TRIALS, Mirror, PushTrials, patiently
from genre_ray.tune.outcome import Outcome
from genre_ray.tune.progress import SearchProgress
from genre_ray.tune.searcher import StudySearcher
from genre_ray.tune.trainable import TrialTrainable
from genre_ray.tune.winners import save_best_so_far

logger = logging.getLogger(__name__)

_CONFIG = "config.yaml"
_LASTING = ("metric", "folds", "folds_by", "seed")
_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENOTCONN}


def search(
    config: TuneConfig,
    *,
    data: str | None = None,
    output: str | Path = "results",
    resume: bool = False,
    or_start: bool = False,
    address: str | None = None,
    cache: str | None = None,
    stream: TextIO = sys.stderr,
) -> Outcome:
    """Run or go on with the search that `config` describes; returns where everything lies and how it scored.

    Ctrl-C ends the trials, leaves the best model so far in `best/` and raises KeyboardInterrupt; `resume` goes on from
    there, as after a killed driver, and with `or_start` begins where there is nothing to go on with. RunError,
    ConfigError, CatalogError or SplitError when it cannot start.
    """
    check_address(address)
    mirror = Mirror.of(output)
    mirror.pull()
    with (
        claimed(mirror.root, config, resume=resume, or_start=or_start) as folder,
        records.owned(folder),
        _storage_errors(folder),
        connect(address),
    ):
        _write_config(folder, config)
        corpus = open_corpus(config, data or config.data, folder, cache, stream)
        print(f"protocol {corpus.split.describe()}", file=stream, flush=True)
        if told := remark(config):
            say(stream, told, level="warning")
        mirror.push(folder)
        try:
            _run_trials(config, corpus, folder, mirror, stream)
            patiently(lambda: mirror.pull_trials(folder))
            outcome = finish(config, corpus, folder, stream)
            patiently(lambda: mirror.push(folder))
            return outcome
        except RunError:
            with suppress(RunError):  # what is told is why the search ended
                mirror.push(folder)
            raise
        except KeyboardInterrupt:
            mirror.pull_trials(folder)
            study = records.open_study(folder, config)
            best = save_best_so_far(config, corpus, study, folder)
            where = f"best model so far: {best}" if best else "no trial has saved a state yet"
            mirror.push(folder)
            print(f"\nstopped; {where}; go on with --resume", file=stream, flush=True)
            raise


@contextmanager
def claimed(output: Path, config: TuneConfig, *, resume: bool, or_start: bool = False) -> Iterator[Path]:
    """The folder of `claim`; a new one is given back when data or settings turn out to be wrong before it has begun.

    RunError where an old one is of another configuration.
    """
    before = set(output.glob("*"))
    folder = claim(output, config, resume=resume, or_start=or_start)
    same_search(folder, config)
    try:
        yield folder
    except (CatalogError, ConfigError, SplitError):
        if folder not in before and not (folder / SPLIT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def claim(output: Path, config: TuneConfig, *, resume: bool, or_start: bool = False) -> Path:
    """The folder of this search: a new one (`name`, `name-2`, ...), or the newest that exists when resuming."""
    existing = [folder for folder in _candidates(output, config.name) if (folder / _CONFIG).exists()]
    if resume and (existing or not or_start):
        if not existing:
            raise RunError(
                f"nothing to resume: there is no search {config.name} in {output}",
                found=", ".join(sorted(p.name for p in output.glob("*") if (p / _CONFIG).exists()))
                or "no search at all",
                remedy="leave --resume out to start it, or name its --config and --output",
            )
        return existing[-1]
    taken = [folder for folder in _candidates(output, config.name) if folder.exists()]
    folder = output / (config.name if not taken else f"{config.name}-{_number(taken[-1], config.name) + 1}")
    # A folder under its final name holds its configuration, whenever this process may be killed.
    made = output / f".{folder.name}.{uuid4().hex}.tmp"
    made.mkdir(parents=True)
    _write_config(made, config)
    made.rename(folder)
    return folder


def _write_config(folder: Path, config: TuneConfig) -> None:
    temporary = folder / f"{_CONFIG}.tmp"
    temporary.write_text(yaml.safe_dump(_plain(config), sort_keys=False), encoding="utf-8")
    temporary.replace(folder / _CONFIG)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """What the system says of a full disk or a lost mount, with what to do: nothing that is written down is lost."""
    try:
        yield
    except (OSError, TuneError) as error:
        cause = _system_error(error)
        if cause is None:
            raise
        raise RunError(
            f"{folder} cannot be written",
            found=str(cause),
            remedy="make room or bring the storage back, then go on with --resume: finished trials are kept",
        ) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """What the system said of its storage, when that led to `error`."""
    # What pyarrow says of object storage is an OSError without a number.
    while error is not None and not (
        isinstance(error, OSError) and (error.errno in _STORAGE or (type(error) is OSError and error.errno is None))
    ):
        error = error.__cause__ or error.__context__
    return error


def _candidates(output: Path, name: str) -> list[Path]:
    folders = [output / name, *output.glob(f"{name}-*")]
    return sorted((f for f in folders if _number(f, name)), key=lambda f: _number(f, name))


def _number(folder: Path, name: str) -> int:
    """1 for `name`, n for `name-n`, 0 for anything else."""
    if folder.name == name:
        return 1
    tail = folder.name.removeprefix(f"{name}-")
    return int(tail) if tail.isdecimal() else 0


def same_search(folder: Path, config: TuneConfig) -> None:
    """RunError when the given file differs from the stored one in more than budget and resources."""
    # Read as a file of this version, so that fields which have come since, at their defaults, are no difference.
    stored, given = _plain(load(folder / _CONFIG)), _plain(config)
    free = {"search", "resources", "streaming", "refit", "data"}
    changed = [key for key in given if key not in free and given[key] != stored.get(key)]
    # These decide what finished trials were held out from, and what their scores mean.
    changed += [f"search.{key}" for key in _LASTING if given["search"][key] != stored["search"].get(key)]
    if changed:
        raise RunError(
            f"{folder} was started with another configuration",
            found=f"differences in {', '.join(changed)}",
            expected="the same file; the budget and pace of search, resources, streaming and refit may change",
            remedy=f"resume with --config {folder / _CONFIG}, or leave --resume out to start a new search",
        )


def _plain(config: TuneConfig) -> dict[str, Any]:
    plain: dict[str, Any] = config.model_dump(mode="json", by_alias=True)
    return plain


def _run_trials(config: TuneConfig, corpus: Corpus, folder: Path, mirror: Mirror, stream: TextIO) -> None:
    study = records.open_study(folder, config)
    lost = records.recover(study)
    records.enqueue_points(study, config)
    done = records.finished(study)
    remaining = None if config.search.trials is None else config.search.trials - len(done)
    if lost or done:
        print(f"resuming: {len(done)} trials are finished, {len(lost)} go on from their last saved epoch", file=stream)
    if remaining is not None and remaining <= 0:
        return
    searcher = StudySearcher(study, config)
    best = records.ranking(study)[:1]
    progress = SearchProgress(
        searcher,
        metric=config.search.metric,
        total=config.search.trials,
        done=len(done),
        best=best[0].value if best else None,
        budget_s=config.search.time_budget_s,
        stream=stream,
    )
    _quieten_tune()
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(_trainable(config, corpus, mirror.storage(folder)), request(config)),
        tune_config=ray.tune.TuneConfig(
            search_alg=searcher,
            scheduler=make_scheduler(config, study),
            num_samples=-1 if remaining is None else remaining,
            max_concurrent_trials=config.search.concurrency,
            time_budget_s=config.search.time_budget_s,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.config["folder"],
            trial_name_creator=lambda trial: trial.config["folder"],
        ),
        run_config=ray.tune.RunConfig(
            name=TRIALS,
            storage_path=mirror.storage(folder),
            failure_config=ray.tune.FailureConfig(max_failures=config.search.retries),
            checkpoint_config=ray.tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
            callbacks=[progress, PushTrials(mirror, folder, stream)],
            verbose=0,
        ),
    )
    tuner.fit()


def _trainable(config: TuneConfig, corpus: Corpus, storage: str) -> Any:
    """The class of the trials, with the tracks that they see; the test part stays on this side and cannot leak."""
    seen = corpus.table.part(corpus.split.train + corpus.split.validation)
    given: dict[str, Any] = {
        "parts": corpus.parts,
        "labels": corpus.catalog.labels,
        "tune_config": _plain(config),
        "trials_folder": f"{storage}/{TRIALS}",
    }
    if config.resources.workers == 1:
        return ray.tune.with_parameters(TrialTrainable, table=seen, **given)
    from genre_ray.tune.distributed import DistributedTrial  # Ray Train takes a second to import

    return ray.tune.with_parameters(DistributedTrial, table=[ray.put(seen)], bundles=bundles(config), **given)


def _quieten_tune() -> None:
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C must reach `search`, which writes the best so far
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # SearchProgress speaks; Tune's own tables stay out of its way
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # SearchProgress gives the reason in a line, error.txt the trace
    # Tune warns of frequent snapshots of its own state; they are small, and resuming does not read them.
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    # Nor does it matter that they cannot be uploaded while storage is full or away, which is said in a line elsewhere.
    for name in ("ray.tune.execution.experiment_state", "ray.train._internal.storage", "ray.train._internal.syncer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
