"""From a folder or manifest to tracks, and a report of what is wrong with them instead of the first failure.

Knows nothing about Ray, and decodes nothing: it looks at names, tables, headers and content digests.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Literal

from genre_ray.data import gtzan
from genre_ray.data.drafts import Draft
from genre_ray.data.duplicates import duplicate_groups, note_duplicates
from genre_ray.data.faults import Fault, FaultLog, merged, report
from genre_ray.data.layouts import (
    PIECES_TABLE,
    find_gtzan_level,
    is_feature_table,
    read_feature_table,
    read_genre_folders,
    read_gtzan,
    refuse_pieces,
)
from genre_ray.data.listing import File, Listing, list_folder
from genre_ray.data.manifest import NAMES, read_manifest
from genre_ray.data.tables import read_table
from genre_ray.data.verification import Inspection, inspect
from genre_ray.errors import CatalogError
from genre_ray.schema import GENRES, Track
from genre_ray.source import is_uri, name_of

__all__ = ["Catalog", "Fault", "Need", "Sources", "open_catalog"]

Kind = Literal["gtzan", "folders", "manifest"]
Need = Literal["spectrogram", "features"]
Sources = Literal["auto", "figures", "audio"]


@dataclass(frozen=True)
class Catalog:
    """The tracks of a corpus in the order of their ids, its labels in their order, and its faults.

    `kind` is "gtzan" only for GTZAN itself. `digests` maps a track id to the SHA-256 of all that the track has.
    `duplicate_groups` are ids of tracks that are exact copies of one another.
    """

    tracks: tuple[Track, ...]
    labels: tuple[str, ...]
    faults: tuple[Fault, ...]
    root: str
    kind: Kind
    duplicate_groups: tuple[tuple[str, ...], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.tracks)

    @cached_property
    def by_id(self) -> Mapping[str, Track]:
        """Track by id."""
        return {track.id: track for track in self.tracks}

    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and content digests: equal for equal data, wherever it lies."""
        lines = [f"{track.id}\t{track.label}\t{self.digests.get(track.id, '')}" for track in self.tracks]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def with_faults(self, faults: Iterable[Fault]) -> "Catalog":
        """The same tracks with more faults in the report, each kind still listed once."""
        return replace(self, faults=merged((*self.faults, *faults)))

    def without(self, track_ids: Collection[str]) -> "Catalog":
        """The catalog less these tracks; a label that loses its last track goes too."""
        gone = set(track_ids)
        tracks = tuple(track for track in self.tracks if track.id not in gone)
        left = {track.label for track in tracks}
        groups = (tuple(key for key in group if key not in gone) for group in self.duplicate_groups)
        return replace(
            self,
            tracks=tracks,
            labels=tuple(label for label in self.labels if label in left),
            duplicate_groups=tuple(group for group in groups if len(group) > 1),
            digests={key: digest for key, digest in self.digests.items() if key not in gone},
        )

    def summary(self) -> str:
        """A few lines: what it is, how many tracks per genre, and what they have."""
        counts = Counter(track.label for track in self.tracks)
        has = {
            "audio": sum(track.audio is not None for track in self.tracks),
            "a figure": sum(track.figure is not None for track in self.tracks),
            "a feature row": sum(track.features is not None for track in self.tracks),
            "a known artist": sum(track.artist is not None for track in self.tracks),
        }
        what = {"gtzan": "GTZAN", "folders": "genre folders", "manifest": "manifest"}[self.kind]
        return "\n".join(
            (
                f"{name_of(self.root)}: {what}, {len(self.tracks)} tracks, {len(self.labels)} genres",
                "  " + ", ".join(f"{label} {counts[label]}" for label in self.labels),
                "  " + ", ".join(f"{count} with {noun}" for noun, count in has.items() if count),
            )
        )

    def fault_report(self, shown: int = 5) -> str:
        """Each kind of fault once, with its count, the first `shown` tracks, and what was done."""
        return report(self.faults, shown)

    def to_json(self) -> dict[str, object]:
        """Everything but the tracks' content: counts, faults with all their tracks, duplicates, fingerprint."""
        counts = Counter(track.label for track in self.tracks)
        return {
            "root": name_of(self.root),
            "kind": self.kind,
            "tracks": len(self.tracks),
            "labels": {label: counts[label] for label in self.labels},
            "faults": [fault.to_json() for fault in self.faults],
            "duplicate_groups": [list(group) for group in self.duplicate_groups],
            "fingerprint": self.fingerprint(),
        }


def open_catalog(
    root: str | Path,
    *,
    need: Collection[Need] = (),
    verify: bool | None = None,
    sources: Sources = "auto",
    labels: Sequence[str] | None = None,
) -> Catalog:
    """The corpus at `root`: a folder, a manifest or feature table (CSV or Parquet), or a URI of one.

    `need`: tracks that cannot give these are left out and listed; a spectrogram comes from a figure or audio, features
    from a row or audio. `verify`: look into every file (header and content digest); None means where files are local.
    `sources`: "figures" leaves audio aside, "audio" leaves figures and rows aside. `labels`: those of a checkpoint;
    tracks of others are left out. Raises CatalogError if there is nothing that could be a corpus.
    """
    log = FaultLog()
    source, drafts = _read(str(root), log)
    for draft in drafts:
        _keep_sources(draft, sources)
    inspections = inspect(drafts, verify=not is_uri(str(root)) if verify is None else verify)
    seen = list(zip(drafts, inspections, strict=True))
    for draft, inspection in seen:
        _drop_damaged(draft, inspection, log)
    _note_missing(drafts, need, log)
    left_out = {draft.id for draft in drafts if not _usable(draft, need, labels, log)}
    kept = [pair for pair in seen if pair[0].id not in left_out]
    if not kept:
        raise _nothing_usable(str(root), need, log.faults(left_out))
    is_gtzan = source != "manifest" and _is_gtzan(seen)
    if is_gtzan and not any(draft.artist for draft in drafts):
        for draft in drafts:
            draft.artist = gtzan.artists().get(draft.id)
    groups = duplicate_groups(kept, gtzan.duplicates() if is_gtzan else ())
    note_duplicates(groups, {draft.id: draft.label for draft, _ in kept}, log)
    return Catalog(
        tracks=tuple(draft.track() for draft, _ in kept),
        labels=_ordered({str(draft.label) for draft, _ in kept}, labels),
        faults=log.faults(left_out),
        root=str(root),
        kind="gtzan" if is_gtzan else "folders" if source == "folders" else "manifest",
        duplicate_groups=groups,
        digests={draft.id: _digest(draft, inspection) for draft, inspection in kept},
    )


def _read(root: str, log: FaultLog) -> tuple[Literal["manifest", "features", "folders"], list[Draft]]:
    """The drafts in the order of their ids, and whether they come from a manifest, a feature table or folders."""
    if root.partition("?")[0].lower().endswith((".csv", ".parquet")) and not Path(root).is_dir():
        return _read_table(root, log, {})
    listing = list_folder(root)
    for fault, name, found in listing.passed_over:
        log.add(fault, name, found, action="ignored")
    manifest = next((file for name in NAMES for file in listing.files if file.path == name), None)
    if manifest is not None:
        return _read_table(manifest.source, log, {file.path: file for file in listing.files})
    level = find_gtzan_level(listing)
    drafts = list(read_genre_folders(listing, log) if level is None else read_gtzan(listing, log, level=level))
    if not drafts:
        raise _nothing_found(root, listing)
    return "folders", drafts


def _read_table(
    place: str | Path, log: FaultLog, listed: Mapping[str, File]
) -> tuple[Literal["manifest", "features"], list[Draft]]:
    table = read_table(place, str(place))
    if not table.rows:
        raise CatalogError(f"{place}: no rows", expected="a line for each track below the header")
    if is_feature_table(table):
        return "features", list(read_feature_table(table, log))
    return "manifest", list(read_manifest(table, place, log, listed=listed))


def _nothing_found(root: str, listing: Listing) -> CatalogError:
    pieces = [file.path for file in listing.files if PurePosixPath(file.path).name == PIECES_TABLE]
    if pieces:
        return refuse_pieces(f"{root}/{pieces[0]}")
    packed = [file.path for file in listing.files if file.suffix in (".zip", ".tar", ".gz", ".7z", ".rar")]
    seen = ", ".join(sorted({file.suffix or "no suffix" for file in listing.files})[:8])
    return CatalogError(
        f"{root}: nothing that could be a track",
        found=f"{len(listing.files)} files ({seen})" if listing.files else "an empty folder",
        expected="genres_original/<genre>/*.wav, images_original/<genre>/*.png or features_30_sec.csv (GTZAN), "
        "<genre>/**/*.wav (or .mp3, .flac, ...), or a manifest.csv with path,label",
        remedy=f"unpack {packed[0]} first" if packed else "name the folder that holds the genre folders",
    )


def _nothing_usable(root: str, need: Collection[Need], faults: Sequence[Fault]) -> CatalogError:
    wanted = {"spectrogram": "a figure or audio", "features": "a feature row or audio"}
    asked = " and ".join(wanted[noun] for noun in need) or "audio, a figure or a feature row"
    return CatalogError(
        f"{root}: no usable track",
        found="; ".join(fault.describe(shown=3) for fault in faults),
        expected=f"tracks with a genre and {asked}",
        remedy="name a corpus that has them, or ask for less",
    )


def _is_gtzan(seen: Sequence[tuple[Draft, Inspection]]) -> bool:
    """Whether it is GTZAN and not another corpus in its layout: by ids, the 30 s of what audio it has, and its rows."""
    lengths = [found.audio.duration_s for _, found in seen if found.audio and found.audio.duration_s]
    of_30_s = not lengths or gtzan.SHORTEST_S <= median(lengths) <= gtzan.LONGEST_S
    rows = {draft.id: draft.features for draft, _ in seen if draft.features is not None}
    return of_30_s and gtzan.is_gtzan([draft.id for draft, _ in seen], rows)


def _keep_sources(draft: Draft, sources: Sources) -> None:
    if sources == "figures":
        draft.audio = None
    elif sources == "audio":
        draft.figure = draft.features = None


def _drop_damaged(draft: Draft, seen: Inspection, log: FaultLog) -> None:
    if seen.figure is not None and seen.figure.fault is not None:
        log.add(seen.figure.fault, draft.id, seen.figure.found)
        draft.figure = None
    if seen.audio is not None and seen.audio.fault is not None:
        log.add(seen.audio.fault, draft.id, seen.audio.found)
        draft.audio = None


def _note_missing(drafts: Sequence[Draft], need: Collection[Need], log: FaultLog) -> None:
    """What some tracks have and others never had, and what is needed; damage is listed under its own kind already."""
    damaged = {
        "figure": {*log.names("unreadable-figure"), *log.names("wrong-size-figure"), *log.names("missing-figure")},
        "audio": {*log.names("unreadable-audio"), *log.names("missing-audio")},
        "row": {*log.names("bad-row")},
    }
    has = {
        "figure": {draft.id for draft in drafts if draft.figure is not None},
        "audio": {draft.id for draft in drafts if draft.audio is not None},
        "row": {draft.id for draft in drafts if draft.features is not None},
    }
    needed = {"figure": "spectrogram" in need, "audio": False, "row": "features" in need}
    for noun, owners in has.items():
        for draft in drafts:
            lacking = draft.id not in owners and draft.id not in damaged[noun]
            without_audio = draft.id not in has["audio"] and draft.id not in damaged["audio"]
            if lacking and (owners or (needed[noun] and without_audio)):
                log.add(f"missing-{noun}", draft.id)


def _usable(draft: Draft, need: Collection[Need], labels: Sequence[str] | None, log: FaultLog) -> bool:
    if draft.label is None or (labels is not None and draft.label not in labels):
        log.add("unknown-label", draft.id, "none" if draft.label is None else repr(draft.label))
        return False
    sound = draft.audio is not None
    able = {
        "spectrogram": sound or draft.figure is not None,
        "features": sound or draft.features is not None,
    }
    return all(able[noun] for noun in need) and any(able.values())


def _ordered(found: set[str], given: Sequence[str] | None) -> tuple[str, ...]:
    order = given if given is not None else GENRES if found <= set(GENRES) else sorted(found)
    return tuple(label for label in order if label in found)


def _digest(draft: Draft, seen: Inspection) -> str:
    parts = [draft.figure and seen.figure and seen.figure.digest, draft.audio and seen.audio and seen.audio.digest]
    total = hashlib.sha256("|".join(part or "" for part in parts).encode())
    total.update(b"" if draft.features is None else draft.features.tobytes())
    return total.hexdigest()
