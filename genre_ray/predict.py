"""Batch prediction: a row for each track of a collection, by actors that hold the model.

From `extract` on it is the way of the service, through the same Predictor. Knows nothing about training or HTTP.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray._private import worker

from genre_ray.abstention import is_unsure
from genre_ray.artefact import read_directory, write_directory
from genre_ray.checkpoint import open_checkpoint
from genre_ray.data import execution
from genre_ray.data.cache import EXTRACTION_VERSION
from genre_ray.data.execution import Actors
from genre_ray.data.inbox import Sources, tracks_of
from genre_ray.data.shards import Process
from genre_ray.data.tabulation import Tabulated, tabulate
from genre_ray.data.transport import place
from genre_ray.inference import Predictor
from genre_ray.preprocessing import extract
from genre_ray.schema import Track

_CLIPS_AT_ONCE = 16

_TRACKS_AN_ACTOR = 256
"""So many that starting a machine and an actor, minutes and seconds, is worth it."""

_MOST_UNASKED = 256
"""Two of the shards that Ray Data is given at a time for each."""


def predict_catalog(
    sources: Sources,
    checkpoint: str | Path,
    out: str | Path,
    *,
    embedding: bool = False,
    unsure_below: float | None = None,
    resume: bool = True,
    concurrency: int | None = None,
    device: str = "auto",
    progress: bool = True,
    stream: TextIO | None = None,
) -> Tabulated:
    """Predict every track of `sources` and write `out`, a Parquet file with a row for each, in their order.

    Columns: `track`, `path`, `label` (the top genre), `score` (its probability), `unsure` (whether that is below
    `unsure_below`; None is the checkpoint's own threshold), `clips`, `p_<genre>` for each genre, `embedding` on
    request, and `error_kind` and `error` for a track that could not be used. `concurrency` is the
    number of actors, each with one CPU and thread and its share of the GPUs, None as `actors_for` says. An interrupted
    run goes on where it was, and of a finished `out` only the tracks are predicted that are new, have changed, or
    failed in a way that may be gone now, unless `resume` is off. The checkpoint travels to the workers: only this
    process must see it. Errors as `open_checkpoint`, `tracks_of` and `tabulate`.
    """
    tracks = tracks_of(sources)
    opened = open_checkpoint(checkpoint)
    threshold = opened.unsure_below if unsure_below is None else unsure_below
    work = PredictionRows(
        labels=opened.labels,
        embedding=embedding,
        unsure_below=threshold,
        device=device,
        files=read_directory(checkpoint),
    )
    facts = {
        "genre_ray.checkpoint": opened.version,
        "genre_ray.extraction": str(EXTRACTION_VERSION),
        "genre_ray.labels": ",".join(opened.labels),
        "genre_ray.embedding": str(embedding),
        "genre_ray.unsure_below": str(threshold),
    }
    return tabulate(
        tracks,
        work,
        out,
        facts=facts,
        verb="predicting",
        actors=actors_for(len(tracks), concurrency, device),
        resume=resume,
        progress=progress,
        stream=stream,
    )


def actors_for(tracks: int, concurrency: int | None, device: str) -> Callable[[int], Actors]:
    """The actors for as much work at once as the function that is returned is told, once Ray is up.

    The pool may be larger than the cluster: work begins with the first actor that finds room, and those that wait are
    what an autoscaler sees. None is one for each CPU that is there now; on a cluster that was there before, which may
    have an autoscaler and no machine yet, at least one for each 256 tracks, up to 256.
    """

    def actors(most: int) -> Actors:
        cpus = execution.cpus()
        grown = min(tracks // _TRACKS_AN_ACTOR, _MOST_UNASKED) if _may_grow() else 0
        count = min(concurrency or max(cpus, grown), most)
        # Those beyond the CPUs of now come with machines, and GPUs, of their own.
        return Actors(count=count, num_gpus=0.0 if device == "cpu" else min(1.0, execution.gpus() / min(count, cpus)))

    return actors


def _may_grow() -> bool:
    """Whether Ray was started by somebody else: what this process has started is this machine and stays it."""
    node = worker._global_node
    return node is not None and not node.is_head()


@dataclass(frozen=True, kw_only=True)
class PredictionRows:
    """The work of predicting: `files` are those of the checkpoint's directory."""

    labels: tuple[str, ...]
    embedding: bool
    unsure_below: float
    device: str
    files: Mapping[str, bytes] = field(repr=False)

    def open(self) -> Process:
        """The function that holds the model."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "checkpoint"
            write_directory(target, self.files)
            predictor = Predictor.open(target, device=self.device, threads=1)
        return lambda track: self._answer(track, predictor)

    def failed(self, track: Track, kind: str, message: str) -> pa.Table:
        """A row with the error and no answer."""
        return self._row(track, None, None, 0, kind, message)

    def _answer(self, track: Track, predictor: Predictor) -> Iterator[pa.Table]:
        clips = extract(track, predictor.inputs)
        probabilities: list[NDArray[np.float32]] = []
        embeddings: list[NDArray[np.float32]] = []
        while some := list(islice(clips, _CLIPS_AT_ONCE)):
            probabilities.append(predictor.predict_clips(some))
            if self.embedding:
                embeddings.append(predictor.embed_clips(some))
        rows = np.concatenate(probabilities)
        mean = np.concatenate(embeddings).mean(axis=0) if self.embedding else None
        yield self._row(track, rows.mean(axis=0), mean, len(rows), None, None)

    def _row(
        self,
        track: Track,
        probabilities: NDArray[np.float32] | None,
        embedding: NDArray[np.float32] | None,
        clips: int,
        kind: str | None,
        message: str | None,
    ) -> pa.Table:
        top = None if probabilities is None else int(np.argmax(probabilities))
        found = None if probabilities is None or top is None else float(probabilities[top])
        row: dict[str, object] = {
            "track": track.id,
            "path": place(track.audio if track.audio is not None else track.figure),
            "label": None if top is None else self.labels[top],
            "score": found,
            "unsure": None if found is None else is_unsure(found, self.unsure_below),
            "clips": clips,
        }
        for i, label in enumerate(self.labels):
            row[f"p_{label}"] = None if probabilities is None else float(probabilities[i])
        if self.embedding:
            row["embedding"] = None if embedding is None else embedding.tolist()
        return pa.Table.from_pylist([row | {"error_kind": kind, "error": message}], schema=self._schema())

    def _schema(self) -> pa.Schema:
        columns = [("track", pa.string()), ("path", pa.string()), ("label", pa.string()), ("score", pa.float32())]
        columns += [
            ("unsure", pa.bool_()),
            ("clips", pa.int32()),
            *((f"p_{label}", pa.float32()) for label in self.labels),
        ]
        columns += [("embedding", pa.list_(pa.float32()))] if self.embedding else []
        return pa.schema([*columns, ("error_kind", pa.string()), ("error", pa.string())])
