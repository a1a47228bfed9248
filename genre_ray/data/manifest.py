"""Tracks from a table `path,label[,artist,split,figure,id]` and feature columns. Knows nothing about folder layouts."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from genre_ray.data.drafts import FIGURE_SUFFIXES, Draft, Drafts, feature_row, path_id, track_id
from genre_ray.data.faults import FaultLog
from genre_ray.data.listing import File, beside
from genre_ray.data.tables import Table, cell_text
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.source import is_uri

NAMES = ("manifest.csv", "manifest.parquet")
"""A folder that has one of these at its top is read through it."""


def read_manifest(
    table: Table, manifest: str | Path, log: FaultLog, *, listed: Mapping[str, File] | None = None
) -> Drafts:
    """The tracks of a manifest, `table` as read from a local path or a URI.

    Paths in it are relative to it, absolute, or URIs; `path` may name a figure as well. The id is the column `id`, or
    comes from the path; with both `id` and features, `path` may be absent. `listed` are the files that are known to be
    below its folder (their sizes are known then). Raises CatalogError if it lacks its columns.
    """
    base = _folder_of(str(manifest))
    has_features = any(column in table.columns for column in FEATURE_COLUMNS)
    table.require(("id", "label") if has_features and _without_files(table) else ("path", "label"))
    if has_features:
        table.require(FEATURE_COLUMNS)
    drafts, seen = Drafts(log), dict[str, str | None]()
    for where, row in table.placed:
        cell = {name: cell_text(row.get(name)) for name in ("path", "figure", "id", "label", "artist", "split")}
        place = cell["path"] or cell["figure"] or ""
        key = cell["id"] or track_id(place)
        if key in seen and not cell["id"] and seen[key] != place:
            key = path_id(place)  # two folders may number their files alike
        if not key:
            log.add("missing-audio", where, "no path, no figure and no id", action="left out")
            continue
        if key in seen:
            drafts.note_again(key, f"a second row in {where}", cell["label"], where)
            continue
        seen[key] = place
        draft = drafts.at(key, cell["label"])
        draft.artist, draft.split = cell["artist"], cell["split"]
        _add_files(draft, cell, base, listed or {})
        if has_features:
            draft.features, wrong = feature_row(row)
            if draft.features is None:
                log.add("bad-row", key, wrong)
    return drafts


def _add_files(draft: Draft, cell: Mapping[str, str | None], base: str, listed: Mapping[str, File]) -> None:
    path, figure = cell["path"], cell["figure"]
    if path and PurePosixPath(path).suffix.lower() in FIGURE_SUFFIXES and not figure:
        path, figure = None, path
    draft.audio = _file(path, base, listed) if path else None
    draft.figure = _file(figure, base, listed) if figure else None


def _file(path: str, base: str, listed: Mapping[str, File]) -> File:
    known = listed.get(path)
    if known is not None:
        return known
    if is_uri(path):
        return File(path, path, 0, 0.0)
    if is_uri(base) and not path.startswith("/"):
        return File(path, beside(base, path), 0, 0.0)
    place = Path(base) / Path(path).expanduser()
    state = place.stat() if place.is_file() else None
    return File(path, place, state.st_size if state else 0, state.st_mtime if state else 0.0)


def _folder_of(manifest: str) -> str:
    if not is_uri(manifest):
        return str(Path(manifest).expanduser().parent)
    path, mark, options = manifest.partition("?")
    return f"{path.rsplit('/', 1)[0]}{mark}{options}"


def _without_files(table: Table) -> bool:
    return "id" in table.columns and not {"path", "figure"} & set(table.columns)
