"""The scores of a checkpoint as it is, on tracks that it has not seen; tracks it was fitted on are refused.

Knows nothing about fitting.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from genre_ray.connection import connect
from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import count_leaks
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.data.splits import make_splits
from genre_ray.data.streaming import StreamingConfig
from genre_ray.errors import ConfigError, RunError
from genre_ray.evaluate import Evaluation, corpus_facts, open_prepared
from genre_ray.inference import Predictor
from genre_ray.metrics import score
from genre_ray.report import RunResult, write_report
from genre_ray.report.runs import summary_of

Part = Literal["train", "validation", "test", "all"]
Seen = Literal["refuse", "leave-out", "keep"]
"""What is done about tracks that the checkpoint was fitted on."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The tracks to score, those of the corpus that the checkpoint was fitted on, and what a reader must be told."""

    tracks: tuple[str, ...]
    fitted: tuple[str, ...]
    note: str


def score_checkpoint(
    checkpoint: str | Path,
    data: str | Path,
    part: Part = "test",
    *,
    output: Path,
    protocol: ProtocolConfig | None = None,
    fold: int = 1,
    seen: Seen = "refuse",
    address: str | None = None,
    cache: str | None = None,
    streaming: StreamingConfig | None = None,
    stream: TextIO = sys.stderr,
) -> Evaluation:
    """Score `checkpoint` on a part of a protocol's split (`fold` counts from 1), or on `all` tracks; write the report.

    RunError when `seen` is "refuse" and tracks of that part were in the checkpoint's training data; "leave-out" scores
    the others, "keep" scores all and says so beside the score. ConfigError when part and protocol do not fit together.
    """
    predictor = Predictor.open(checkpoint)
    # Without a cluster named, `prepare` starts Ray only where the cache lacks something.
    with connect(address) if address else nullcontext():
        catalog, table = open_prepared(
            data, predictor.inputs, cache=cache, stream=stream, labels=predictor.labels, streaming=streaming
        )
    place, tracks = _part(catalog, part, protocol, fold)
    chosen = choose(tracks, catalog, predictor.manifest.get("data", {}), seen=seen)
    if chosen.note:
        stream.write(f"WARNING: {chosen.note}\n")
    found, probabilities = predictor.predict_table(table.part(chosen.tracks))
    targets = np.array([predictor.labels.index(str(catalog.by_id[track].label)) for track in found], dtype=np.int64)
    leaks = _leaks(catalog, chosen, predictor.manifest.get("data", {}))
    run = RunResult(
        name=f"checkpoint {predictor.version}",
        split=place,
        scores=score(probabilities, targets, predictor.labels),
        leaks=f"{leaks}; {chosen.note}" if chosen.note else leaks,
        tracks=found,
        probabilities=probabilities,
        targets=targets,
        history=tuple(predictor.manifest["history"][0]),
        fitted_on=str(predictor.manifest.get("notes", {}).get("fitted_on", "its training data")),
        n_train=len(chosen.fitted),
    )
    finished = Evaluation(output, (run,), summary_of([run]))
    manifest = {key: value for key, value in predictor.manifest.items() if key not in ("history", "metrics", "data")}
    write_report(
        finished.report,
        title=f"Checkpoint {predictor.version} on {place}",
        runs=[run],
        config=manifest,
        data=corpus_facts(catalog),
        faults=catalog.faults,
        notes=[chosen.note] if chosen.note else [],
    )
    return finished


def choose(tracks: Sequence[str], catalog: Catalog, record: dict[str, Any], *, seen: Seen) -> Scored:
    """Which of `tracks` to score, given the checkpoint's data record. RunError as `score_checkpoint`."""
    known = record.get("tracks")
    if not known:
        note = "the checkpoint does not record its training tracks, so the score may be of tracks that it has seen"
        return Scored(tuple(tracks), (), note)
    fitted = _fitted(catalog, record)
    overlap = set(fitted) & set(tracks)
    if not overlap or seen == "keep":
        note = (
            f"{len(overlap)} of the {len(tracks)} tracks were in its training data: this is no test" if overlap else ""
        )
        return Scored(tuple(tracks), fitted, note)
    left = tuple(track for track in tracks if track not in overlap)
    if seen == "leave-out" and left:
        return Scored(left, fitted, f"{len(overlap)} of {len(tracks)} tracks left out, which it was fitted on")
    raise RunError(
        f"{len(overlap)} of {len(tracks)} tracks were in the training data of this checkpoint",
        found=", ".join(sorted(overlap)[:5]) + (", ..." if len(overlap) > 5 else ""),
        expected="tracks that it has not seen",
        remedy="--seen leave-out scores the others, --seen keep scores all and says so; "
        "--recipe fits it again under a protocol",
    )


def _fitted(catalog: Catalog, record: dict[str, Any]) -> tuple[str, ...]:
    """The tracks of `catalog` that a checkpoint was fitted on: by their content, and in the same corpus by name."""
    contents = set(record.get("contents", ())) - {""}
    same = {track for track, digest in catalog.digests.items() if digest[:16] in contents}
    if _same_corpus(catalog, record):
        same |= set(record["tracks"])
    return tuple(sorted(same & set(catalog.by_id)))


def _leaks(catalog: Catalog, chosen: Scored, record: dict[str, Any]) -> str:
    """What crosses to the scored tracks, as far as the training tracks lie here to be compared with."""
    absent = len(record.get("tracks") or ()) - len(chosen.fitted)
    if not chosen.fitted:
        return f"{len(chosen.tracks)} test tracks; leaks not counted: its training tracks are not in this corpus"
    told = count_leaks(catalog, chosen.fitted, chosen.tracks).describe()
    return f"{told}; {absent} training tracks are not in this corpus and were not compared" if absent > 0 else told


def _same_corpus(catalog: Catalog, record: dict[str, Any]) -> bool:
    """Whether equal ids mean equal tracks: GTZAN is one corpus wherever it lies; others are told by name or content."""
    if catalog.kind == record.get("kind") == "gtzan":
        return True
    return record.get("fingerprint") == catalog.fingerprint() or record.get("root") == Path(catalog.root).name


def _part(catalog: Catalog, part: Part, protocol: ProtocolConfig | None, fold: int) -> tuple[str, tuple[str, ...]]:
    if part == "all":
        return f"all tracks of {Path(catalog.root).name}", tuple(track.id for track in catalog.tracks)
    if protocol is None:
        raise ConfigError(
            f"part {part} of what?", expected="a protocol, or part all", remedy="add --protocol, or take --part all"
        )
    splits = make_splits(catalog, protocol)
    if not 1 <= fold <= len(splits):
        raise ConfigError(f"there is no fold {fold}", found=f"{len(splits)} splits", remedy=f"1 to {len(splits)}")
    split = splits[fold - 1]
    tracks: tuple[str, ...] = getattr(split, part)
    return f"{split.name}, {part} part", tracks
