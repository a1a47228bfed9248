"""Tracks as Arrow rows, the form in which they travel to the workers. Knows nothing about what is done with them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from genre_ray.schema import Source, Track

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("audio", pa.string()),
        ("audio_bytes", pa.large_binary()),
        ("figure", pa.string()),
        ("figure_bytes", pa.large_binary()),
        ("features", pa.binary()),
    ]
)


def to_arrow(tracks: Sequence[Track]) -> pa.Table:
    """A row for each track: paths, URIs or bytes, never what the paths point to. Artist and split stay behind."""
    return pa.table(
        {
            "id": [track.id for track in tracks],
            "label": [track.label for track in tracks],
            "audio": [place(track.audio) for track in tracks],
            "audio_bytes": [_content(track.audio) for track in tracks],
            "figure": [place(track.figure) for track in tracks],
            "figure_bytes": [_content(track.figure) for track in tracks],
            "features": [None if track.features is None else track.features.tobytes() for track in tracks],
        },
        schema=_SCHEMA,
    )


def from_arrow(table: pa.Table) -> list[Track]:
    """The inverse of `to_arrow`; paths come back as text."""
    return [
        Track(
            id=row["id"],
            label=row["label"],
            audio=row["audio"] if row["audio"] is not None else row["audio_bytes"],
            figure=row["figure"] if row["figure"] is not None else row["figure_bytes"],
            features=None if row["features"] is None else np.frombuffer(row["features"], dtype=np.float64),
        )
        for row in table.select(_SCHEMA.names).to_pylist()
    ]


def place(source: Source | None) -> str | None:
    """Where a source lies, as text: an absolute path or a URI; None for bytes.

    Absolute, since a worker's working directory is not the driver's.
    """
    if source is None or isinstance(source, bytes):
        return None
    return str(source) if "://" in str(source) else str(Path(source).expanduser().absolute())


def _content(source: Source | None) -> bytes | None:
    return source if isinstance(source, bytes) else None
