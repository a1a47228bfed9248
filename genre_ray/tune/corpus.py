"""The tracks of a search: opened, prepared, and divided once for its whole life.

Knows nothing about trials.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from genre_ray.clips import Clips, ClipTable
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.leaks import Leaks, Split
from genre_ray.data.pipeline import prepare
from genre_ray.data.splits import make_splits
from genre_ray.data.synthesis import compose
from genre_ray.errors import RunError
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.folds import Part, search_parts
from genre_ray.tune.mirror import local_cache

SPLIT = "split.json"
"""Which track is in which part; where it is, a search has begun."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the trials learn from: the catalog of tracks that could be prepared, their clips, the split, and its folds.

    `parts` has the train and validation tracks of each training of a trial.
    """

    catalog: Catalog
    table: Clips
    split: Split
    parts: tuple[Part, ...]


def open_corpus(config: TuneConfig, data: str | None, folder: Path, cache: str | None, stream: TextIO) -> Corpus:
    """The tracks of `data`, or of the embedded corpus, prepared; and the split, the same after each resume."""
    if data is None:
        data = str(_embedded_corpus(config, stream))
    inputs = config.preparation()
    need = [name for name, part in (("spectrogram", inputs.spectrogram), ("features", inputs.features)) if part]
    catalog = open_catalog(data, need=need)  # type: ignore[arg-type]
    if not (folder / SPLIT).exists():  # tracks that cannot be divided are refused before they are prepared
        search_parts(config, catalog, make_splits(catalog, config.protocol)[0])
    prepared = prepare(catalog, inputs, cache=cache)
    catalog = prepared.catalog
    print(catalog.summary(), file=stream)
    report = catalog.fault_report()
    if report:
        print(report, file=stream)
    clips = prepared.clips_for(config.streaming)
    if not isinstance(clips, ClipTable):
        print(f"clips are streamed from {prepared.path}", file=stream)
    return Corpus(catalog, clips, *fixed_split(config, catalog, folder))


def _embedded_corpus(config: TuneConfig, stream: TextIO) -> Path:
    corpus = config.corpus
    root = local_cache() / "corpora"
    name = f"embedded-{corpus.tracks_per_genre}x{corpus.duration_s:g}s-{corpus.seed}"
    print(
        f"no data named: composing the embedded corpus ({10 * corpus.tracks_per_genre} tracks)", file=stream, flush=True
    )
    return compose(
        root / name, tracks_per_genre=corpus.tracks_per_genre, duration_s=corpus.duration_s, seed=corpus.seed
    )


def fixed_split(config: TuneConfig, catalog: Catalog, folder: Path) -> tuple[Split, tuple[Part, ...]]:
    """The split of this search and the parts of its trials, written down once.

    A file that breaks later must not move tracks between the parts or the folds: what was held out from a saved model
    would then have been trained on.
    """
    path = folder / SPLIT
    if path.exists():
        return _restored(json.loads(path.read_text(encoding="utf-8")), config, catalog, folder)
    split = make_splits(catalog, config.protocol)[0]
    parts = search_parts(config, catalog, split)
    stored = {
        "name": split.name,
        "fingerprint": catalog.fingerprint(),
        "leaks": split.leaks.to_json(),
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
        "folds": [{"train": train, "validation": validation} for train, validation in parts],
        "digests": {key: _brief(digest) for key, digest in catalog.digests.items()},
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    temporary.replace(path)
    return split, tuple(parts)


def _restored(
    stored: dict[str, Any], config: TuneConfig, catalog: Catalog, folder: Path
) -> tuple[Split, tuple[Part, ...]]:
    """What was written down, less the tracks that cannot be used any more. RunError where it is of other data."""
    known = set(catalog.by_id)
    if stored["fingerprint"] != catalog.fingerprint():
        before = stored.get("digests", {})
        other = [key for key in sorted(known & set(before)) if before[key] != _brief(catalog.digests.get(key, ""))]
        if other or not known.intersection(stored["test"]):
            shown = ", ".join(other[:5]) + (", ..." if len(other) > 5 else "")
            raise RunError(
                f"{folder} was started on other data",
                found=f"{len(other)} tracks with other content ({shown})" if other else "none of its test tracks",
                remedy="name the same --data with its files as they were, or leave --resume out to start anew",
            )

    def left(tracks: Sequence[str]) -> tuple[str, ...]:
        return tuple(track for track in tracks if track in known)

    split = Split(
        name=stored["name"],
        leaks=Leaks(**stored["leaks"]),
        **{part: left(stored[part]) for part in ("train", "validation", "test")},
    )
    if "folds" not in stored:  # written before folds were kept
        return split, tuple(search_parts(config, catalog, split))
    return split, tuple((left(fold["train"]), left(fold["validation"])) for fold in stored["folds"])


def _brief(digest: str) -> str:
    return digest[:16]
