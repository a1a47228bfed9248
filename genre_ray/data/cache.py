"""Where prepared clips are kept, and under which keys: by what a track is, not by where it lies or when it was made.

A folder for each way of preparing, in it shards of clips; each track in them has a key of its own, so that a changed
or a new file costs the work of that file alone. Knows nothing about Ray.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig
from genre_ray.data.catalog import Catalog
from genre_ray.data.identity import identities, key_of
from genre_ray.data.shards import NOT_KEPT, Process
from genre_ray.data.store import Entry, Store, under
from genre_ray.schema import Track

EXTRACTION_VERSION = 1
"""What `preprocessing.extract` gives for a track; raised whenever that changes, so that old clips are left aside."""

_CLIPS_AT_ONCE = 16
_READERS = 16


def default_location() -> str:
    """`GENRE_RAY_CACHE`, or else `~/.cache/genre_ray`."""
    return os.environ.get("GENRE_RAY_CACHE") or str(Path.home() / ".cache" / "genre_ray")


def clip_store(cache: str | Path | None, inputs: InputConfig) -> Store:
    """The shards of clips that were prepared as `inputs` says, below `cache`."""
    return Store(under(cache or default_location(), f"clips/{preparation_key(inputs)}"))


def preparation_key(inputs: InputConfig) -> str:
    """Name of a way of preparing: equal for configs that give equal clips; normalisation and scaling come later.

    Left out is only what is known to come later, so that a setting added tomorrow cannot fetch yesterday's clips.
    """
    facts = inputs.model_dump(mode="json", exclude={"features": {"scaling"}, "descriptors": True})
    picture = facts["spectrogram"]
    if picture is not None:
        del picture["normalisation"]
        if picture["form"] != "figure":
            del picture["size"]
    facts["version"] = EXTRACTION_VERSION
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    what = [part for part in (picture and picture["form"], inputs.features and "features") if part]
    return "-".join([*what, digest])


def track_keys(catalog: Catalog) -> list[str]:
    """For each track of the catalog, in order, the key of its clips: label, feature row and the content of its files.

    The catalog's digests are used where it looked at the content; files it could not look at count by path, size and
    time of change.
    """
    unseen = [track for track in catalog.tracks if not _was_seen(track, catalog)]
    identity = dict(zip((track.id for track in unseen), identities(unseen), strict=True))
    return [key_of(track.label or "", identity.get(track.id) or catalog.digests[track.id]) for track in catalog.tracks]


def _was_seen(track: Track, catalog: Catalog) -> bool:
    # The files of a remote manifest are known by name alone; those of a remote folder were listed with size and time.
    remote = any("://" in str(source) for source in (track.audio, track.figure) if not isinstance(source, bytes))
    return track.id in catalog.digests and not (remote and catalog.kind == "manifest")


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
