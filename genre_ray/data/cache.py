"""Where prepared clips are kept, and under which keys: by what a track is, not by where it lies or when it was made.

A folder for each way of preparing, in it shards of clips; each track in them has a key of its own, so that a changed
or a new file costs the work of that file alone. Knows nothing about Ray.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig
from genre_ray.data.catalog import Catalog
from genre_ray.data.shards import NOT_KEPT, Process
from genre_ray.data.store import Entry, Store
from genre_ray.schema import Source, Track

EXTRACTION_VERSION = 1
"""What `preprocessing.extract` gives for a track; raised whenever that changes, so that old clips are left aside."""

_CLIPS_AT_ONCE = 16
_READERS = 16


def default_location() -> str:
    """`GENRE_RAY_CACHE`, or else `~/.cache/genre_ray`."""
    return os.environ.get("GENRE_RAY_CACHE") or str(Path.home() / ".cache" / "genre_ray")


def clip_store(cache: str | Path | None, inputs: InputConfig) -> Store:
    """The shards of clips that were prepared as `inputs` says, below `cache`."""
    return Store(f"{str(cache or default_location()).rstrip('/')}/clips/{preparation_key(inputs)}")


def preparation_key(inputs: InputConfig) -> str:
    """Name of a way of preparing: equal for configs that give equal clips; normalisation and scaling come later."""
    picture = inputs.spectrogram
    facts = {
        "version": EXTRACTION_VERSION,
        "clip": inputs.clip.model_dump(mode="json"),
        "form": picture.form if picture else None,
        "size": picture.size if picture and picture.form == "figure" else None,
        "features": inputs.features is not None,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    what: list[str] = [picture.form] if picture else []
    what += ["features"] if inputs.features else []
    return "-".join([*what, digest])


def track_keys(catalog: Catalog) -> list[str]:
    """For each track of the catalog, in order, the key of its clips: label, feature row and the content of its files.

    The catalog's digests are used where it looked at the content; files it could not look at count by path, size and
    time of change.
    """
    unseen = [track for track in catalog.tracks if not _was_seen(track, catalog)]
    stamps = _stamps([source for track in unseen for source in (track.audio, track.figure) if source is not None])
    return [_key(track, catalog, stamps) for track in catalog.tracks]


def _was_seen(track: Track, catalog: Catalog) -> bool:
    # The files of a remote manifest are known by name alone; those of a remote folder were listed with size and time.
    remote = any("://" in str(source) for source in (track.audio, track.figure) if not isinstance(source, bytes))
    return track.id in catalog.digests and not (remote and catalog.kind == "manifest")


def _key(track: Track, catalog: Catalog, stamps: dict[Source, str]) -> str:
    parts = [track.label or ""]
    if _was_seen(track, catalog):
        parts.append(catalog.digests[track.id])
    else:
        parts += [stamps[source] if source is not None else "" for source in (track.audio, track.figure)]
        parts.append("" if track.features is None else hashlib.sha256(track.features.tobytes()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _stamps(sources: Sequence[Source]) -> dict[Source, str]:
    """What tells each source from another of the same name: content for bytes, else path, size and time of change."""
    if not sources:
        return {}
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(sources, pool.map(_stamp, sources), strict=True))


def _stamp(source: Source) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        if "://" in str(source):
            filesystem, path = fs.FileSystem.from_uri(str(source))
            info = filesystem.get_file_info(path)
            return f"{source} {info.size} {info.mtime_ns}"
        state = Path(source).stat()
    except (OSError, ValueError, pa.ArrowException):
        return f"{source} not there"  # extracting it will say what is the matter
    return f"{source} {state.st_size} {state.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a track's clips are: a shard, and which rows of it."""

    shard: str
    entry: Entry


def places(store: Store) -> dict[tuple[str, str], Place]:
    """All that a store holds, by track and key. Errors that may be gone on another try are not counted as held."""
    with ThreadPoolExecutor(_READERS) as pool:
        names = store.names()
        listed = pool.map(store.entries, names)
    held: dict[tuple[str, str], Place] = {}
    for name, entries in zip(names, listed, strict=True):
        held |= {(entry.track, entry.key): Place(name, entry) for entry in entries or () if entry.kind not in NOT_KEPT}
    return held


@dataclass(frozen=True, slots=True)
class Extraction:
    """The work of preparing: a track's clips as rows."""

    inputs: InputConfig

    def open(self) -> Process:
        """Nothing to load: the decoders are imported by the first track that needs them."""
        return self._clips

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        """A track that fails has no clips."""
        return None

    def _clips(self, track: Track) -> Iterator[pa.Table]:
        from genre_ray.preprocessing import extract  # in the worker; the driver needs none of it

        clips = extract(track, self.inputs)
        while some := list(islice(clips, _CLIPS_AT_ONCE)):
            yield ClipTable.from_clips(some).to_arrow()
