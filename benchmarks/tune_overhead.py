"""What Ray Tune adds to a trial: the wall time of trials of a search against the same training called directly.

    python benchmarks/tune_overhead.py                      # trials of about 30 s, 5 pairs
    python benchmarks/tune_overhead.py --length 10 --pairs 3

One search runs trial after trial, all with the same configuration on generated clips. Between two trials, while the
trial's process is idle, this process trains the same configuration itself: trial, direct, trial, direct. A trial's time
goes from the end of the direct training before it to the line that tells its end, so it holds all that Tune, Optuna and
the journal do: suggestion, reset of the warm process, results, states saved, snapshots. Starting the first process is
shown apart: a search pays it once for each trial that runs at a time, not for each trial.
"""

import argparse
import io
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from genre_ray.clips import ClipTable
from genre_ray.config import parse
from genre_ray.connection import connect
from genre_ray.data.leaks import Leaks, Split
from genre_ray.schema import GENRES
from genre_ray.tune import run as runner
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.corpus import Corpus
from genre_ray.tune.mirror import Mirror
from genre_ray.tune.progress import SearchProgress
from genre_ray.tune.trainers import FoldTrainers

SEARCH = {
    "name": "overhead",
    "protocol": {"name": "paper"},
    "base": {
        "inputs": {"spectrogram": {"normalisation": "per_frequency"}, "features": {"scaling": "standard"}},
        "model": {
            "kind": "hybrid",
            "cnn": {"width": 8, "stages": 4, "hidden": 64},
            "mlp": {"width": 128},
            "hidden": 64,
        },
        "training": {"batch_size": 16, "augment": {"crop_columns": 128}},
    },
    "search": {"concurrency": 1},
    "asha": {"grace_epochs": 5},
    "resources": {"cpus": 1, "gpus": 0},
}


def corpus(tracks: int) -> Corpus:
    """Noise of the shape of prepared tracks; the times do not depend on what is in it."""
    generator = np.random.default_rng(0)
    names = np.array([f"track-{i:05d}" for i in range(tracks)])
    table = ClipTable(
        track=names,
        label=np.array(GENRES)[np.arange(tracks) % len(GENRES)],
        index=np.zeros(tracks, np.int32),
        start_s=np.zeros(tracks),
        spectrogram=generator.integers(0, 256, (tracks, 1, 128, 334), dtype=np.uint8),
        features=generator.standard_normal((tracks, 57)),
    )
    cut = tracks * 4 // 5
    split = Split(
        name="generated",
        train=tuple(names[:cut]),
        validation=tuple(names[cut:]),
        test=(),
        leaks=mock.create_autospec(Leaks, instance=True),
    )
    catalog: Any = SimpleNamespace(labels=GENRES)
    return Corpus(catalog=catalog, table=table, split=split, parts=((split.train, split.validation),))


def direct(config: TuneConfig, clips: Corpus) -> float:
    """Seconds that the training takes when it is called directly."""
    started = time.perf_counter()
    parts = [(clips.split.train, clips.split.validation)]
    trainers = FoldTrainers(clips.table, parts, GENRES, threads=1)
    trainers.begin(config.base)
    while not trainers.run_epoch()[0].finished:
        pass
    return time.perf_counter() - started


def configure(length_s: float, pairs: int, clips: Corpus) -> TuneConfig:
    """As many epochs as fill `length_s`, and one trial more than pairs: the first starts its process."""
    base: dict[str, Any] = SEARCH["base"]  # type: ignore[assignment]

    def of(epochs: int) -> TuneConfig:
        training = {**base["training"], "epochs": epochs}
        search = {"concurrency": 1, "trials": pairs + 1}
        return parse(
            TuneConfig, {**SEARCH, "base": {**base, "training": training}, "search": search}, origin="benchmark"
        )

    direct(of(1), clips)  # the first one also pays for what torch prepares once in a process
    epoch_s = statistics.median(direct(of(2), clips) for _ in range(3)) / 2
    return of(max(1, round(length_s / epoch_s)))


@dataclass
class Measured:
    """Seconds, in the order of their happening; `own_cpu` is what the searching process computes during a trial."""

    trials: list[float] = field(default_factory=list)
    directs: list[float] = field(default_factory=list)
    own_cpu: list[float] = field(default_factory=list)


def measure(config: TuneConfig, clips: Corpus, folder: Path) -> Measured:
    """Run the search; the first trial also starts its process."""
    found = Measured()
    told = SearchProgress.on_trial_complete
    began, cpu = time.perf_counter(), time.process_time()

    def on_trial_complete(self: SearchProgress, *args: Any, **info: Any) -> None:
        nonlocal began, cpu
        told(self, *args, **info)
        found.trials.append(time.perf_counter() - began)
        found.own_cpu.append(time.process_time() - cpu)
        if len(found.trials) < config.search.trials:  # type: ignore[operator]
            found.directs.append(direct(config, clips))
        began, cpu = time.perf_counter(), time.process_time()

    with mock.patch.object(SearchProgress, "on_trial_complete", on_trial_complete):
        runner._run_trials(config, clips, folder, Mirror.of(str(folder.parent)), io.StringIO())
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--length", type=float, default=30.0, help="seconds of a trial (default: 30)")
    options.add_argument("--pairs", type=int, default=5, help="trials, and as many direct trainings (default: 5)")
    options.add_argument("--tracks", type=int, default=160, help="generated tracks (default: 160)")
    given = options.parse_args()
    clips = corpus(given.tracks)
    with connect(num_cpus=2, num_gpus=0), tempfile.TemporaryDirectory(prefix="genre-ray-") as folder:
        config = configure(given.length, given.pairs, clips)
        found = measure(config, clips, Path(folder))
    first, *trials = found.trials
    ratios = [trial / alone for trial, alone in zip(trials, found.directs, strict=True)]
    print(f"epochs a trial       {config.base.training.epochs}")
    for number, (trial, alone, ratio) in enumerate(zip(trials, found.directs, ratios, strict=True), start=1):
        print(f"pair {number}: trial {trial:7.2f} s, direct {alone:7.2f} s, ratio {ratio:.3f}")
    print(f"first trial          {first:.2f} s, start of its process included")
    print(f"searching process    {statistics.median(found.own_cpu[1:]):.2f} s of CPU a trial")
    print(f"median of ratios     {statistics.median(ratios):.3f}")
    print(f"overhead of Tune     {100 * (statistics.median(ratios) - 1):+.1f} %")


if __name__ == "__main__":
    main()
