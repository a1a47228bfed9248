"""Which files of a folder belong to which track: GTZAN as Kaggle packs it, or audio in genre-named folders.

Knows nothing about manifests, nor what is inside a file (apart from a feature table such as GTZAN's).
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

from genre_ray.data.drafts import AUDIO_SUFFIXES, FIGURE_SUFFIXES, Drafts, feature_row, genre_in, track_id
from genre_ray.data.faults import FaultLog
from genre_ray.data.listing import File, Listing
from genre_ray.data.tables import Table, cell_text, read_table
from genre_ray.errors import CatalogError
from genre_ray.schema import FEATURE_COLUMNS

FIGURES_FOLDER = "images_original"
AUDIO_FOLDERS = ("genres_original", "genres")
FEATURES_TABLE = "features_30_sec.csv"
"""GTZAN's whole-track features."""

PIECES_TABLE = "features_3_sec.csv"
"""GTZAN's other table, which nothing is read from."""

_PIECES = "describes pieces of 3 s, not tracks"


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


def read_gtzan(whole: Listing, log: FaultLog, *, level: str = "") -> Drafts:
    """Tracks of GTZAN's layout in the folder `level`: figures, audio and feature rows, joined on the track id.

    Any of the three may be absent. Other music in the listing is reported, and not read.
    """
    drafts, listing = Drafts(log), whole.below(level)
    _note_others(whole, f"{level}/" if level else "", log)
    for name in (FIGURES_FOLDER, *AUDIO_FOLDERS):
        if name in listing.folders:
            _read_genre_folders(listing.below(name), drafts)
    table = next((file for file in listing.files if file.path == FEATURES_TABLE), None)
    if table is None and any(file.path == PIECES_TABLE for file in listing.files):
        log.add("ignored-file", PIECES_TABLE, _PIECES, action="ignored")
    if table is not None:
        _join_rows(read_table(table.source, table.path), drafts)
    return drafts


def _note_others(whole: Listing, head: str, log: FaultLog) -> None:
    """Reports audio and figures that are not below the folders that are read."""
    read = tuple(f"{head}{name}/" for name in (FIGURES_FOLDER, *AUDIO_FOLDERS))
    others = [file.path for file in whole.files if _is_audio_or_figure(file) and not file.path.startswith(read)]
    folders: Counter[str] = Counter()
    for path in others:
        within = head if path.startswith(head) else ""
        top, is_below, _ = path.removeprefix(within).partition("/")
        if is_below:
            folders[within + top] += 1
        else:
            log.add("ignored-file", path, "beside the folders of GTZAN's layout", action="ignored")
    for folder, count in folders.items():
        log.add("ignored-folder", folder, f"{count} files of audio or figures", action="ignored")


def read_genre_folders(listing: Listing, log: FaultLog) -> Drafts:
    """Tracks of a folder in which each subfolder is a genre; below it, folders may be nested at will.

    Nothing is guessed from the nested folders: the artist stays unknown. A picture counts as a figure only if it is
    named like GTZAN's, since folders of music hold cover pictures too.
    """
    drafts = Drafts(log)
    _read_genre_folders(listing, drafts)
    return drafts


def _read_genre_folders(listing: Listing, drafts: Drafts) -> None:
    genres, used = {folder for folder in listing.folders if "/" not in folder}, set[str]()
    for file in listing.files:
        place = PurePosixPath(file.path)
        if not _is_audio_or_figure(file):
            if len(place.parts) > 1:
                drafts.log.add("ignored-file", file.path, action="ignored")
            continue
        label = place.parts[0] if len(place.parts) > 1 else None
        key, named = track_id(file.path), genre_in(place.stem)
        if label is not None and named != label and named in genres:
            found = f"{label!r} by folder, {named!r} by name"
            drafts.log.add("label-disagreement", key, found, action="kept as a track of its own, as its folder says")
        drafts.add_file(key, label, file)
        used.add(place.parts[0])
    for folder in sorted(genres - used):
        drafts.log.add("empty-genre", folder, action="not a label")


def _is_audio_or_figure(file: File) -> bool:
    """Whether it is taken for one: a picture only if it is named like GTZAN's figures, since there are covers too."""
    is_numbered = genre_in(PurePosixPath(file.path).stem) is not None
    return file.suffix in AUDIO_SUFFIXES or (file.suffix in FIGURE_SUFFIXES and is_numbered)


def is_feature_table(table: Table) -> bool:
    """Whether it is a table such as GTZAN's: file names and features, but no paths."""
    has_features = any(column in FEATURE_COLUMNS for column in table.columns)
    return has_features and "filename" in table.columns and "path" not in table.columns


def read_feature_table(table: Table, log: FaultLog) -> Drafts:
    """Tracks of a feature table alone. CatalogError for the one that describes pieces of tracks."""
    if PurePosixPath(table.origin.partition("?")[0]).name == PIECES_TABLE:
        raise refuse_pieces(table.origin)
    drafts = Drafts(log)
    _join_rows(table, drafts)
    return drafts


def refuse_pieces(place: str) -> CatalogError:
    """The error for GTZAN's other table by itself."""
    return CatalogError(
        f"{place}: {_PIECES}", expected=FEATURES_TABLE, remedy=f"take {FEATURES_TABLE} from the same archive"
    )


def _join_rows(table: Table, drafts: Drafts) -> None:
    """Adds the rows of a feature table, of several for one track the first."""
    table.require(("filename",))
    rows: dict[str, dict[str, object]] = {}
    again: list[tuple[str, str, str | None]] = []
    for place, row in table.placed:
        name = cell_text(row.get("filename"))
        if name is None:
            drafts.log.add("bad-row", place, "no filename", action="left out")
            continue
        key = track_id(name)
        if key in rows:
            again.append((key, place, cell_text(row.get("label"))))
        else:
            rows[key] = row
    _settle_labels({key: cell_text(row.get("label")) for key, row in rows.items()}, drafts)
    for key, row in rows.items():
        draft = drafts.at(key, None)
        draft.artist, draft.split = cell_text(row.get("artist")), cell_text(row.get("split"))
        draft.features, wrong = feature_row(row)
        if draft.features is None:
            drafts.log.add("bad-row", key, wrong)
    for key, place, label in again:
        drafts.note_again(key, f"a further row in {place}", label, place)


def _settle_labels(labels: Mapping[str, str | None], drafts: Drafts) -> None:
    """Gives tracks the label of their folder, else the table's, else that in their name.

    The name goes before the table where most names agree with it, as GTZAN's do: then one that differs is a slip. Where
    most do not, `fma_00042.wav` says nothing about genres, unless the table has no label at all.
    """
    told = {key: label for key, label in labels.items() if label is not None and genre_in(key) is not None}
    agreeing = sum(genre_in(key) == label for key, label in told.items())
    trusted = 2 * agreeing > len(told) or not any(labels.values())
    names = {key: genre_in(key) if trusted else None for key in (*labels, *(draft.id for draft in drafts))}
    genres = {*names.values(), *(draft.label for draft in drafts)} - {None}
    for key, label in labels.items():
        draft = drafts.at(key, None)
        draft.label = ours = draft.label or names[key] or label
        if label != ours:
            drafts.log.add(
                "label-disagreement" if label in genres else "unknown-label",
                key,
                f"{label!r} in the table, {ours!r} by folder and name",
                action="kept, as their folder or name says",
            )
