"""Searches and evaluations on a stream: no clip in driver, object store or trial for longer than a batch needs it."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genre_ray.checkpoint import open_checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig, RunConfig, parse
from genre_ray.connection import connect
from genre_ray.data.catalog import open_catalog
from genre_ray.data.pipeline import PreparedCorpus, prepare
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.data.streaming import StreamingConfig
from genre_ray.data.streams import ClipStream
from genre_ray.evaluate import evaluate

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

RUN: dict[str, Any] = {
    "model": {"kind": "hybrid", "cnn": {"width": 4, "stages": 3, "hidden": 16}, "mlp": {"width": 32}, "hidden": 16},
    "training": {"epochs": 3, "batch_size": 16, "learning_rate": 0.005, "augment": {"crop_columns": 64}},
}
SEARCH: dict[str, Any] = {
    "name": "streamed",
    "protocol": {"name": "paper", "validation_fraction": 0.3},
    "base": RUN,
    "variants": {"net": {}, "kernel": {"inputs": {"spectrogram": None}, "model": {"kind": "svm"}}},
    "points": [{"variant": "net"}, {"variant": "kernel"}],
    "search": {"metric": "accuracy", "trials": 2, "folds": 2, "startup_trials": 2, "save_every_s": 0.0},
    "refit": {"seeds": [1], "mixture": 2},
    "streaming": {"mode": "always", "buffer_mb": 1},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(figures: Path, cache: Path) -> PreparedCorpus:
    return prepare(open_catalog(figures), InputConfig(), cache=cache, progress=False)


def by_clip(tables: Any) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    return {
        (str(table.track[i]), int(table.index[i])): (table.spectrogram[i].tobytes(), table.features[i].tobytes())
        for table in tables
        for i in range(len(table))
    }


def test_ray_data_and_the_thread_give_the_same_clips_in_the_same_order(prepared: PreparedCorpus) -> None:
    """Inside a task that holds the only CPU there is, where a reader that asked for one would wait for ever."""
    import ray

    def order(settings: StreamingConfig) -> tuple[list[str], dict[Any, Any]]:
        pieces = list(prepared.stream(settings).shuffled((1, 2, 3), share=(0, 2)))
        return [track for piece in pieces for track in piece.track.tolist()], by_clip(pieces)

    with connect(num_cpus=1):
        task = ray.remote(num_cpus=1)(order)
        found = [
            ray.get(task.remote(StreamingConfig(reader=reader, buffer_mb=1)), timeout=120)
            for reader in ("ray", "arrow")
        ]
    assert found[0] == found[1]
    assert len(found[0][0]) == len(prepared.catalog) // 2
    whole = by_clip([prepared.load()])
    assert all(whole[clip] == content for clip, content in found[0][1].items())


def test_size_decides_between_memory_and_stream(prepared: PreparedCorpus) -> None:
    megabytes = prepared.stream(StreamingConfig()).nbytes / 1024**2
    small, large = StreamingConfig(above_mb=int(megabytes) + 1), StreamingConfig(above_mb=max(1, int(megabytes) - 1))
    assert isinstance(prepared.clips_for(small), ClipTable)
    assert isinstance(prepared.clips_for(large), ClipStream)
    assert isinstance(prepared.clips_for(large.model_copy(update={"mode": "never"})), ClipTable)
    assert isinstance(prepared.clips_for(small.model_copy(update={"mode": "always"})), ClipStream)


def test_a_search_on_a_stream_goes_all_the_way_while_its_trials_hold_every_cpu(
    new_search: Callable[..., Any], figures: Path, cache: Path
) -> None:
    search = new_search(SEARCH, figures, cache)
    output, folder = search.complete(), search.results
    assert "clips are streamed from" in output
    trials = pd.read_csv(folder / "trials.csv")
    assert len(trials) == 2
    assert set(trials["state"]) <= {"complete", "pruned"}
    assert set(trials["config.variant"]) == {"net", "kernel"}
    assert open_checkpoint(folder / "best").manifest["metrics"]["test"]["accuracy"] > 0.7


def test_a_search_on_a_stream_with_two_workers_a_trial(
    new_search: Callable[..., Any], figures: Path, cache: Path
) -> None:
    config = SEARCH | {
        "variants": {},
        "points": [],
        "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
        "search": SEARCH["search"] | {"trials": 1, "folds": 1},
        "resources": {"workers": 2},
        "refit": {"seeds": [1]},
    }
    search = new_search(config, figures, cache)
    output = search.complete()
    assert "clips are streamed from" in output
    assert list(pd.read_csv(search.results / "trials.csv")["state"]) == ["complete"]


def test_an_evaluation_on_a_stream_scores_every_test_track(figures: Path, cache: Path, tmp_path: Path) -> None:
    config, protocol = parse(RunConfig, RUN, origin="test"), ProtocolConfig(name="paper", validation_fraction=0.3)
    found = [
        evaluate(
            figures,
            config,
            protocol,
            output=tmp_path / "evaluation",
            calibration="none",
            cache=str(cache),
            streaming=StreamingConfig(mode=mode),
            stream=io.StringIO(),
        ).runs[0]
        for mode in ("always", "never")
    ]
    assert sorted(found[0].tracks) == sorted(found[1].tracks)
    assert len(found[0].tracks) == 8
    probabilities = [dict(zip(run.tracks, run.probabilities, strict=True)) for run in found]
    assert any(not np.array_equal(probabilities[0][t], probabilities[1][t]) for t in probabilities[0])  # own results
    assert all(len(dataclasses.astuple(run.scores)) for run in found)
