"""Tracks whose genre nobody asked about: everything found in a folder, a table or a list, without judging it.

Unlike the catalog, nothing is left out here: a file that turns out to be bad gets its answer, too.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from genre_ray.data.catalog import Catalog
from genre_ray.data.drafts import AUDIO_SUFFIXES, feature_row, track_id
from genre_ray.data.faults import FaultLog
from genre_ray.data.layouts import find_gtzan_level, is_feature_table, read_feature_table, read_gtzan
from genre_ray.data.listing import Listing, list_folder
from genre_ray.data.tables import Table, cell_text, read_table
from genre_ray.errors import CatalogError
from genre_ray.schema import Source, Track

Sources = Catalog | str | Path | Iterable[Track | str | Path]
"""A catalog; a folder, audio file or table (`.csv`, `.parquet`) by path or URI; or several of them, and tracks."""


def tracks_of(sources: Sources) -> list[Track]:
    """All tracks of `sources`, each with an id of its own. CatalogError when there are none, or it cannot be read.

    A folder in GTZAN's layout gives figures, rows and audio joined; any other folder a track for each audio file; a
    table a track for each line, from the column `path`, and `id`, `label`, `figure` and the features if it has them; a
    feature table such as GTZAN's a track for each file name.
    """
    if isinstance(sources, Catalog):
        return list(sources.tracks)
    if isinstance(sources, str | Path):
        tracks = _at(str(sources))
    else:
        tracks = [track for item in sources for track in _of(item)]
    twice = [key for key, count in Counter(track.id for track in tracks).items() if count > 1]
    if twice:
        raise CatalogError(
            f"{len(twice)} track ids are given twice", found=", ".join(twice[:5]), expected="an id for each track"
        )
    if not tracks:
        raise CatalogError("no tracks", expected="audio files, a folder of them, or a table with the column path")
    return tracks


def _of(item: Track | str | Path) -> list[Track]:
    """One of several: its tracks are called by where they come from, so that two folders do not collide."""
    if isinstance(item, Track):
        return [item]
    place = str(item)
    if PurePosixPath(place.partition("?")[0]).suffix.lower() in AUDIO_SUFFIXES and not Path(place).is_dir():
        return [Track(id=place, audio=item)]
    return [replace(track, id=f"{place.rstrip('/')}/{track.id}") for track in _at(place)]


def _at(place: str) -> list[Track]:
    suffix = PurePosixPath(place.partition("?")[0]).suffix.lower()
    if suffix in (".csv", ".parquet"):
        table = read_table(place, place)
        if is_feature_table(table):
            return [draft.track() for draft in read_feature_table(table, FaultLog())]
        return _in_table(table, place)
    if suffix in AUDIO_SUFFIXES and ("://" in place or not Path(place).is_dir()):
        return [Track(id=PurePosixPath(place).stem, audio=place)]
    listing = list_folder(place)
    level = find_gtzan_level(listing)
    if level is not None:
        return [draft.track() for draft in read_gtzan(listing, FaultLog(), level=level)]
    return _in_folder(listing)


def _in_folder(listing: Listing) -> list[Track]:
    files = [file for file in listing.files if file.suffix in AUDIO_SUFFIXES]
    if not files:
        raise CatalogError(
            f"{listing.root}: no audio",
            found=f"{len(listing.files)} other files",
            expected=f"files such as {', '.join(sorted(AUDIO_SUFFIXES)[:6])}",
        )
    shared = Counter(track_id(file.path) for file in files)
    return [
        Track(
            # Two formats of one recording are two tracks, told apart by their suffix.
            id=track_id(file.path) if shared[track_id(file.path)] == 1 else file.path,
            label=PurePosixPath(file.path).parts[0] if "/" in file.path else None,
            audio=file.source,
        )
        for file in files
    ]


def _in_table(table: Table, place: str) -> list[Track]:
    base = place.rpartition("/")[0] if "://" in place else str(Path(place).expanduser().absolute().parent)
    table.require(("path",))
    tracks = []
    for where, row in table.placed:
        cell = {name: cell_text(row.get(name)) or "" for name in ("path", "figure", "id", "label")}
        audio, figure = cell["path"], cell["figure"]
        if audio.lower().endswith(".png") and not figure:
            audio, figure = "", audio
        tracks.append(
            Track(
                id=cell["id"] or track_id(audio or figure) if (cell["id"] or audio or figure) else where,
                label=cell["label"] or None,
                audio=_joined(base, audio),
                figure=_joined(base, figure),
                features=feature_row(row)[0],
            )
        )
    return tracks


def _joined(base: str, path: str) -> Source | None:
    if not path:
        return None
    if "://" in path:
        return path
    return f"{base}/{path}" if "://" in base else Path(base) / Path(path).expanduser()
