"""The tracks of a search: opened, prepared, and divided once for its whole life.

Knows nothing about trials.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from genre_ray.clips import Clips, ClipTable
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.leaks import Leaks, Split
from genre_ray.data.pipeline import prepare
from genre_ray.data.splits import make_splits
from genre_ray.data.synthesis import compose
from genre_ray.errors import RunError
from genre_ray.tune.config import TuneConfig

_SPLIT = "split.json"


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the trials learn from: the catalog of tracks that could be prepared, their clips, and the split."""

    catalog: Catalog
    table: Clips
    split: Split


def open_corpus(config: TuneConfig, data: str | None, folder: Path, cache: str | None, stream: TextIO) -> Corpus:
    """The tracks of `data`, or of the embedded corpus, prepared; and the split, the same after each resume."""
    if data is None:
        data = str(_embedded_corpus(config, stream))
    inputs = config.preparation()
    need = [name for name, part in (("spectrogram", inputs.spectrogram), ("features", inputs.features)) if part]
    catalog = open_catalog(data, need=need)  # type: ignore[arg-type]
    prepared = prepare(catalog, inputs, cache=cache)
    catalog = prepared.catalog
    print(catalog.summary(), file=stream)
    report = catalog.fault_report()
    if report:
        print(report, file=stream)
    clips = prepared.clips_for(config.streaming)
    if not isinstance(clips, ClipTable):
        print(f"clips are streamed from {prepared.path}", file=stream)
    return Corpus(catalog, clips, _fixed_split(config, catalog, folder))


def _embedded_corpus(config: TuneConfig, stream: TextIO) -> Path:
    corpus = config.corpus
    root = Path(os.environ.get("GENRE_RAY_CACHE", Path.home() / ".cache" / "genre_ray")) / "corpora"
    name = f"embedded-{corpus.tracks_per_genre}x{corpus.duration_s:g}s-{corpus.seed}"
    print(
        f"no data named: composing the embedded corpus ({10 * corpus.tracks_per_genre} tracks)", file=stream, flush=True
    )
    return compose(
        root / name, tracks_per_genre=corpus.tracks_per_genre, duration_s=corpus.duration_s, seed=corpus.seed
    )


def _fixed_split(config: TuneConfig, catalog: Catalog, folder: Path) -> Split:
    """The split of this search, written down once: a file that breaks later must not move tracks between the parts."""
    path = folder / _SPLIT
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        known = set(catalog.by_id)
        if stored["fingerprint"] != catalog.fingerprint() and not known.intersection(stored["test"]):
            raise RunError(f"{folder} was started on other data", remedy="name the same --data as before")
        return Split(
            name=stored["name"],
            leaks=Leaks(**stored["leaks"]),
            **{part: tuple(t for t in stored[part] if t in known) for part in ("train", "validation", "test")},
        )
    split = make_splits(catalog, config.protocol)[0]
    stored = {
        "name": split.name,
        "fingerprint": catalog.fingerprint(),
        "leaks": split.leaks.to_json(),
        "train": split.train,
        "validation": split.validation,
        "test": split.test,
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    temporary.replace(path)
    return split
