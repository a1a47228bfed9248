"""Which files of a folder belong to which track: GTZAN as Kaggle packs it, or audio in genre-named folders.

Knows nothing about manifests, nor what is inside a file (apart from GTZAN's feature table).
"""

from pathlib import PurePosixPath

from genre_ray.data.drafts import AUDIO_SUFFIXES, FIGURE_SUFFIXES, Drafts, feature_row, numbered_id, track_id
from genre_ray.data.faults import FaultLog
from genre_ray.data.listing import Listing
from genre_ray.data.tables import Table, read_table

FIGURES_FOLDER = "images_original"
AUDIO_FOLDERS = ("genres_original", "genres")
FEATURES_TABLE = "features_30_sec.csv"
"""GTZAN's whole-track features."""

_PIECES_TABLE = "features_3_sec.csv"


def find_gtzan_level(listing: Listing) -> str | None:
    """The folder that holds GTZAN's parts ("" is the root itself), or None; an only folder is looked into."""
    folders, files = set(listing.folders), {file.path for file in listing.files}
    top = [folder for folder in listing.folders if "/" not in folder]
    levels = ["", "Data"] + [f"{folder}{below}" for folder in top[:1] if len(top) == 1 for below in ("", "/Data")]
    for level in levels:
        head = f"{level}/" if level else ""
        if any(head + name in folders for name in (FIGURES_FOLDER, *AUDIO_FOLDERS)) or head + FEATURES_TABLE in files:
            return level
    return None


def read_gtzan(listing: Listing, log: FaultLog) -> Drafts:
    """Tracks of GTZAN's layout: figures, audio and feature rows, any of which may be absent, joined on the track id."""
    drafts = Drafts(log)
    for name in (FIGURES_FOLDER, *AUDIO_FOLDERS):
        if name in listing.folders:
            _read_genre_folders(listing.below(name), drafts)
    table = next((file for file in listing.files if file.path == FEATURES_TABLE), None)
    if table is None and any(file.path == _PIECES_TABLE for file in listing.files):
        log.add("ignored-file", _PIECES_TABLE, "describes pieces of 3 s, not tracks", action="ignored")
    if table is not None:
        _join_rows(read_table(table.source, table.path), drafts)
    return drafts


def read_genre_folders(listing: Listing, log: FaultLog) -> Drafts:
    """Tracks of a folder in which each subfolder is a genre; below it, folders may be nested at will.

    Nothing is guessed from the nested folders: the artist stays unknown. A picture counts as a figure only if it is
    named like GTZAN's, since folders of music hold cover pictures too.
    """
    drafts = Drafts(log)
    _read_genre_folders(listing, drafts)
    return drafts


def _read_genre_folders(listing: Listing, drafts: Drafts) -> None:
    used: set[str] = set()
    for file in listing.files:
        place = PurePosixPath(file.path)
        is_figure = file.suffix in FIGURE_SUFFIXES and numbered_id(place.stem) is not None
        if file.suffix not in AUDIO_SUFFIXES and not is_figure:
            if len(place.parts) > 1:
                drafts.log.add("ignored-file", file.path, action="ignored")
            continue
        label = place.parts[0] if len(place.parts) > 1 else None
        drafts.add_file(track_id(file.path), label, file)
        used.add(place.parts[0])
    for folder in listing.folders:
        if "/" not in folder and folder not in used:
            drafts.log.add("empty-genre", folder, action="not a label")


def _join_rows(table: Table, drafts: Drafts) -> None:
    """Adds the rows of GTZAN's feature table; where folders and the table give two labels, the folder's counts."""
    table.require(("filename",))
    rows: dict[str, dict[str, object]] = {}
    for row in table.rows:
        name = str(row["filename"])
        key = track_id(name)
        if key in rows:
            drafts.log.add("duplicate-id", key, f"two rows for {name}", action="kept, with the first of them")
        else:
            rows[key] = row
    genres = {_genre_of(key) for key in (*rows, *(draft.id for draft in drafts))}
    for key, row in rows.items():
        label = str(row.get("label") or "") or None
        ours = drafts.at(key, None).label or _genre_of(key) or label
        if label != ours:
            kind = "label-disagreement" if label in genres else "unknown-label"
            drafts.log.add(
                kind,
                key,
                f"{label!r} in the table, {ours!r} by folder and name",
                action="kept, as their folder or name says",
            )
        draft = drafts.at(key, ours)
        draft.label = ours
        draft.features, wrong = feature_row(row)
        if draft.features is None:
            drafts.log.add("bad-row", key, wrong)


def _genre_of(key: str) -> str | None:
    return key.rsplit(".", 1)[0] if numbered_id(key) == key else None
