"""Which part a user puts each track in: text files with a track a line, or a manifest's column `split`.

Knows nothing about protocols.
"""

from pathlib import Path, PurePosixPath

from genre_ray.data.catalog import Catalog
from genre_ray.data.drafts import AUDIO_SUFFIXES, FIGURE_SUFFIXES, track_id
from genre_ray.errors import SplitError

_PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def read_part_list(path: Path) -> tuple[str, ...]:
    """Track ids from a text file: an id or a file name a line; empty lines and those that start with # are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SplitError(
            f"{path}: cannot be read", found=str(error), remedy="give a text file in UTF-8 with a track id a line"
        ) from error
    entries = [line.strip() for line in lines]
    return tuple(dict.fromkeys(_id(entry) for entry in entries if entry and not entry.startswith("#")))


def split_column(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """The parts of a manifest's column `split`; tracks with an empty cell are in none."""
    parts: dict[str, list[str]] = {}
    for track in catalog.tracks:
        if track.split is None:
            continue
        part = _PARTS.get(track.split.lower())
        if part is None:
            raise SplitError(
                f"protocol custom: track {track.id} has an unknown part",
                found=f"split {track.split!r}",
                expected="train, validation or test",
                remedy="correct the manifest's column split",
            )
        parts.setdefault(part, []).append(track.id)
    if "train" not in parts or "test" not in parts:
        raise SplitError(
            "protocol custom: no lists, and no column split that names them",
            found=f"parts {', '.join(sorted(parts)) or 'none'} in {catalog.root}",
            expected="train and test",
            remedy="set protocol.train_list and protocol.test_list, or give a manifest.csv with a column split",
        )
    return {part: tuple(ids) for part, ids in parts.items()}


def _id(entry: str) -> str:
    known = PurePosixPath(entry).suffix.lower() in AUDIO_SUFFIXES | FIGURE_SUFFIXES
    return track_id(entry) if known else entry
