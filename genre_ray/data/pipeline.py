"""From a catalog to prepared clips: in parallel with Ray Data, from the cache where it has them, a bad file set aside.

Preparation is finished before anything trains, so trials that fill the cluster never wait for it. Knows nothing about
models or splits.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig
from genre_ray.connection import connect
from genre_ray.data import execution
from genre_ray.data.cache import Extraction, Place, clip_store, places, track_keys
from genre_ray.data.catalog import Catalog
from genre_ray.data.dataset_reading import DatasetReader
from genre_ray.data.faults import FaultLog, report
from genre_ray.data.reading import ThreadReader
from genre_ray.data.shards import cut, shard_size
from genre_ray.data.store import Entry, Store
from genre_ray.data.streaming import StreamingConfig
from genre_ray.data.streams import ClipStream
from genre_ray.data.telemetry import WorkTelemetry
from genre_ray.errors import CatalogError
from genre_ray.progress import Progress, duration
from genre_ray.schema import Track

logger = logging.getLogger(__name__)

_READERS = 4


@dataclass(frozen=True, kw_only=True)
class PreparedCorpus:
    """Tracks whose clips lie finished in the cache.

    `catalog` lacks the tracks that failed and lists them among its faults. `path` is the folder or URI of the Parquet
    shards; it may hold clips of other corpora as well, so read it through `load` or `dataset`.
    """

    catalog: Catalog
    path: str
    clips: int
    from_cache: bool
    reused: int
    seconds: float
    _places: tuple[Place, ...] = field(repr=False)

    def load(self) -> ClipTable:
        """All clips in memory, by track id and then by their order in the track. RunError when a shard is damaged."""
        return _load(Store(self.path), self._places, self.catalog)

    def clips_for(self, settings: StreamingConfig) -> ClipTable | ClipStream:
        """All clips in memory, or a stream of them, as `settings` say. RunError when a shard is damaged."""
        if settings.mode == "never":
            return self.load()
        stream = self.stream(settings)
        return stream if settings.mode == "always" or stream.nbytes > settings.above_mb * 1024**2 else self.load()

    def stream(self, settings: StreamingConfig) -> ClipStream:
        """The clips as a stream for fitting and predicting, by shard. RunError when a shard is damaged."""
        store, ordered = Store(self.path), sorted(self._places, key=lambda p: (p.shard, p.entry.first))
        schema = store.schema(ordered[0].shard)
        names = {name: i for i, name in enumerate(dict.fromkeys(place.shard for place in ordered))}
        return ClipStream(
            store=store,
            reader=DatasetReader() if settings.reader == "ray" else ThreadReader(),
            settings=settings,
            shards=tuple(names),
            shard=np.array([names[place.shard] for place in ordered], dtype=np.int32),
            first=np.array([place.entry.first for place in ordered], dtype=np.int64),
            rows=np.array([place.entry.rows for place in ordered], dtype=np.int64),
            track=np.array([place.entry.track for place in ordered], dtype=np.str_),
            label=np.array([self.catalog.by_id[p.entry.track].label or "" for p in ordered], dtype=np.str_),
            picture_shape=_picture_shape(schema),
            n_columns=_n_columns(schema),
        )

    def dataset(self) -> ray.data.Dataset:
        """The clips as a stream, in no particular order: columns track, label, index, start_s, spectrogram, features.

        `spectrogram` is uint8 (B, C, H, W) in a batch, `features` float64 (B, 57). Nothing is read until it is used.
        """
        blocks = [pa.table(columns) for columns in _selections(self._places)]
        dataset: Any = ray.data.from_blocks(blocks)
        dataset.context.enable_progress_bars = dataset.context.print_on_execution_start = False
        return dataset.map_batches(  # type: ignore[no-any-return]  # Ray's own annotations refuse pyarrow batches
            _stream_rows,
            fn_kwargs={"store": Store(self.path)},
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
        )

    def describe(self) -> str:
        """A line for people: how many clips of how many tracks, from where, and in what time."""
        what = f"{self.clips} clips of {len(self.catalog)} tracks in {duration(self.seconds)}"
        if self.from_cache:
            return f"from cache: {what}"
        return f"prepared: {what}" + (f" ({self.reused} tracks from cache)" if self.reused else "")


def prepare(
    catalog: Catalog,
    inputs: InputConfig,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
    stream: TextIO | None = None,
) -> PreparedCorpus:
    """The clips of the catalog's tracks as `inputs` says, made in parallel or taken from the cache.

    `cache` is a folder or URI that all machines of the cluster share; None is `GENRE_RAY_CACHE` or
    `~/.cache/genre_ray`. What an interrupted run finished is used again. Ray is started here, and stopped again, only
    where it is not up and there is something to do. Progress goes to `stream`, None is standard error. CatalogError
    when no track could be prepared, RunError when the cache cannot be written.
    """
    started = time.perf_counter()
    store = clip_store(cache, inputs)
    pairs = list(zip(catalog.tracks, track_keys(catalog), strict=True))
    held = places(store)
    missing = [(track, key) for track, key in pairs if (track.id, key) not in held]
    if missing:
        store.sweep()
        with connect():
            held |= _extract(missing, len(pairs), inputs, store, progress=progress, stream=stream)
    found = [held[track.id, key] for track, key in pairs]
    prepared = PreparedCorpus(
        catalog=_without_failed(catalog, found),
        path=store.location,
        clips=sum(place.entry.rows for place in found if place.entry.kind is None),
        from_cache=not missing,
        reused=len(pairs) - len(missing),
        seconds=time.perf_counter() - started,
        _places=tuple(place for place in found if place.entry.kind is None),
    )
    if progress:
        (stream or sys.stderr).write(prepared.describe() + "\n")
    return prepared


def _extract(
    missing: Sequence[tuple[Track, str]],
    total: int,
    inputs: InputConfig,
    store: Store,
    *,
    progress: bool,
    stream: TextIO | None,
) -> dict[tuple[str, str], Place]:
    made: dict[tuple[str, str], Place] = {}
    WorkTelemetry(Extraction.__name__).cached(total - len(missing))
    shards = cut(_dealt(missing), size=shard_size(len(missing), execution.cpus()))
    with Progress("preparing", total=total, done=total - len(missing), shown=progress, stream=stream) as shown:
        for done in execution.run(shards, Extraction(inputs), store):
            made |= {(entry.track, entry.key): Place(done.name, entry) for entry in done.entries}
            shown.advance(len(done.entries), failed=sum(entry.kind is not None for entry in done.entries))
    return made


def _dealt(missing: Sequence[tuple[Track, str]]) -> list[tuple[Track, str]]:
    """In the order of their keys, which are digests and so as good as random: a shard is then a fair sample of all
    genres, and a stream of shards needs only a small buffer to be well shuffled. The tracks of one lost shard come
    together again under its name.
    """
    return sorted(missing, key=lambda pair: (pair[1], pair[0].id))


def _without_failed(catalog: Catalog, found: Sequence[Place]) -> Catalog:
    failed = [place.entry for place in found if place.entry.kind is not None]
    if not failed:
        return catalog
    log = FaultLog()
    for entry in failed:
        log.add(entry.kind or "", entry.track, _shortened(entry))
    left_out = {entry.track for entry in failed}
    faults = log.faults(left_out)
    if len(left_out) == len(catalog):
        raise CatalogError(
            f"{catalog.root}: no track could be prepared",
            found=report(faults).replace("\n", " "),
            remedy="see the faults above; if it is all files, look at the storage and at `inputs`",
        )
    return catalog.with_faults(faults).without(left_out)


def _shortened(entry: Entry) -> str:
    return (entry.message or "").removeprefix(f"{entry.track}: ")


def _load(store: Store, found: Sequence[Place], catalog: Catalog) -> ClipTable:
    ordered = sorted(found, key=lambda place: place.entry.track)
    rows = np.array([place.entry.rows for place in ordered], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(rows)])
    by_shard: dict[str, list[tuple[Entry, int]]] = {}
    for place, start in zip(ordered, starts.tolist(), strict=False):
        by_shard.setdefault(place.shard, []).append((place.entry, start))
    table = _empty(store.schema(ordered[0].shard), ordered, rows, catalog)
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda item: _fill(table, store, item[0], item[1]), by_shard.items()))
    return table


def _empty(schema: pa.Schema, ordered: Sequence[Place], rows: NDArray[np.int64], catalog: Catalog) -> ClipTable:
    """A table of the right size with tracks and labels; the rest is filled in from the shards."""
    count = int(rows.sum())
    shape, columns = _picture_shape(schema), _n_columns(schema)
    tracks = [place.entry.track for place in ordered]
    return ClipTable(
        track=np.repeat(np.array(tracks, dtype=np.str_), rows),
        label=np.repeat(np.array([catalog.by_id[track].label or "" for track in tracks], dtype=np.str_), rows),
        index=np.empty(count, np.int32),
        start_s=np.empty(count, np.float64),
        spectrogram=None if shape is None else np.empty((count, *shape), np.uint8),
        features=None if columns is None else np.empty((count, columns)),
    )


def _picture_shape(schema: pa.Schema) -> tuple[int, int, int] | None:
    shape = (schema.metadata or {}).get(b"spectrogram_shape")
    if shape is None:
        return None
    channels, rows, columns = map(int, shape.decode().split(","))
    return channels, rows, columns


def _n_columns(schema: pa.Schema) -> int | None:
    return schema.field("features").type.list_size if "features" in schema.names else None


def _fill(table: ClipTable, store: Store, shard: str, wanted: Sequence[tuple[Entry, int]]) -> None:
    """Copy the wanted rows of a shard to their places, a row group at a time."""
    names = ["index", "start_s", "spectrogram", "features"]
    columns = [name for name in names if getattr(table, name) is not None]
    offset = 0
    for group in store.groups(shard, ["track", "label", *columns]):
        part = ClipTable.from_arrow(group)
        for entry, start in wanted:
            low, high = max(entry.first, offset), min(entry.first + entry.rows, offset + len(part))
            if low < high:
                there = slice(start + low - entry.first, start + high - entry.first)
                for name in columns:
                    getattr(table, name)[there] = getattr(part, name)[low - offset : high - offset]
        offset += len(part)


def _selections(found: Sequence[Place]) -> Iterator[dict[str, list[Any]]]:
    """For each shard which rows of it are wanted, as the columns of a small table."""
    by_shard: dict[str, list[Entry]] = {}
    for place in found:
        by_shard.setdefault(place.shard, []).append(place.entry)
    for shard, entries in by_shard.items():
        yield {
            "shard": [shard] * len(entries),
            "first": [entry.first for entry in entries],
            "rows": [entry.rows for entry in entries],
        }


def _stream_rows(selection: pa.Table, *, store: Store) -> Iterator[dict[str, NDArray[Any]]]:
    spans = list(zip(selection["first"].to_pylist(), selection["rows"].to_pylist(), strict=True))
    offset = 0
    for group in store.groups(selection["shard"][0].as_py()):
        wanted = np.zeros(group.num_rows, dtype=np.bool_)
        for first, rows in spans:
            wanted[max(0, first - offset) : max(0, first + rows - offset)] = True
        offset += group.num_rows
        if wanted.any():
            part = ClipTable.from_arrow(group).take(wanted)
            columns = {name: getattr(part, name) for name in ("track", "label", "index", "start_s")}
            columns |= {"spectrogram": part.spectrogram} if part.spectrogram is not None else {}
            yield columns | ({"features": part.features} if part.features is not None else {})
