"""ClipTable: many clips as arrays, the form in which prepared tracks are cached, shared between trials and trained on.

Knows nothing about Ray or torch.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from genre_ray.schema import Clip


class Clips(Protocol):
    """Clips to fit or predict: a ClipTable, which holds them, or a stream, which only knows where they are."""

    def __len__(self) -> int:
        """Number of clips."""
        ...

    @property
    def key(self) -> str | None:
        """Equal for streams of the same clips; None for what is held in memory."""
        ...

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of a clip's spectrogram."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each track, "" where unknown."""
        ...

    def part(self, tracks: Collection[str]) -> "Clips":
        """The clips of `tracks`; those that are not there are passed over."""
        ...

    def pieces(self, *, pictures: bool = True) -> Iterator["ClipTable"]:
        """All clips in their order, as many at a time as are in memory together."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTable:
    """N clips of one canonical form, in a fixed order.

    `track`, `label` are str arrays (N,), the label "" where unknown; `index` int32 (N,) and `start_s` float64 (N,)
    place the clip in its track. `spectrogram` is uint8 (N, C, H, W) or None, `features` float64 (N, 57) or None. The
    arrays may be read-only views of Ray's object store.
    """

    track: NDArray[np.str_]
    label: NDArray[np.str_]
    index: NDArray[np.int32]
    start_s: NDArray[np.float64]
    spectrogram: NDArray[np.uint8] | None = None
    features: NDArray[np.float64] | None = None

    @classmethod
    def from_clips(cls, clips: Iterable[Clip]) -> Self:
        """Stack clips of equal shapes; ValueError when there are none or the shapes differ."""
        rows = list(clips)
        if not rows:
            raise ValueError("no clips to stack")
        pictures = [clip.spectrogram for clip in rows if clip.spectrogram is not None]
        features = [clip.features for clip in rows if clip.features is not None]
        if len(pictures) not in (0, len(rows)) or len(features) not in (0, len(rows)):
            raise ValueError("some clips have a spectrogram or features and some have not")
        return cls(
            track=np.array([clip.track for clip in rows], dtype=np.str_),
            label=np.array([clip.label or "" for clip in rows], dtype=np.str_),
            index=np.array([clip.index for clip in rows], dtype=np.int32),
            start_s=np.array([clip.start_s for clip in rows], dtype=np.float64),
            spectrogram=np.stack(pictures) if pictures else None,
            features=np.stack(features) if features else None,
        )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.track)

    @property
    def key(self) -> None:
        """None: see Clips."""
        return None

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of a clip's spectrogram."""
        if self.spectrogram is None:
            return None
        _, channels, rows, columns = self.spectrogram.shape
        return channels, rows, columns

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each track, "" where unknown."""
        return dict(zip(self.track.tolist(), self.label.tolist(), strict=True))

    def pieces(self, *, pictures: bool = True) -> Iterator["ClipTable"]:
        """The table itself: see Clips."""
        yield self

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]) -> "ClipTable":
        """The clips at `rows` (indices or a mask), copied."""
        return self._each(lambda column: column[rows])

    def rows(self, start: int, stop: int) -> "ClipTable":
        """The clips `start` to `stop`, not copied."""
        return self._each(lambda column: column[start:stop])

    @staticmethod
    def joined(tables: "Sequence[ClipTable]") -> "ClipTable":
        """The clips of all tables, which have the same columns, one after the other."""
        if len(tables) == 1:
            return tables[0]
        names = [field.name for field in fields(ClipTable) if getattr(tables[0], field.name) is not None]
        return ClipTable(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})

    def part(self, tracks: Collection[str]) -> "ClipTable":
        """The clips of `tracks`, in this table's order. Tracks that the table lacks (they failed) are passed over."""
        return self.take(np.flatnonzero(np.isin(self.track, list(tracks))))

    def to_arrow(self) -> pa.Table:
        """One row a clip: spectrogram as fixed-size binary, its shape in the schema metadata; features as lists.

        Binary, since Parquet reads a picture thirty times as fast as the list of its pixels.
        """
        columns: dict[str, pa.Array] = {
            "track": pa.array(self.track.tolist(), pa.string()),
            "label": pa.array(self.label.tolist(), pa.string()),
            "index": pa.array(self.index),
            "start_s": pa.array(self.start_s),
        }
        metadata: dict[bytes | str, bytes | str] = {}
        if self.spectrogram is not None:
            shape = self.spectrogram.shape[1:]
            metadata["spectrogram_shape"] = ",".join(str(n) for n in shape)
            columns["spectrogram"] = _binary(self.spectrogram.reshape(len(self), -1))
        if self.features is not None:
            columns["features"] = pa.FixedSizeListArray.from_arrays(
                pa.array(self.features.ravel()), self.features.shape[1]
            )
        table: pa.Table = pa.table(columns)
        return table.replace_schema_metadata(metadata)

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "ClipTable":
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {k: None if column is None else change(column) for k, column in columns.items()}
        return ClipTable(**changed)

    @classmethod
    def from_arrow(cls, table: pa.Table) -> Self:
        """The inverse of `to_arrow`; rows keep their order, nothing is copied where Arrow's chunks allow it."""
        shape = (table.schema.metadata or {}).get(b"spectrogram_shape")
        picture = features = None
        if shape is not None and "spectrogram" in table.column_names:
            picture = _pixels(table["spectrogram"]).reshape(-1, *(int(n) for n in shape.decode().split(",")))
        if "features" in table.column_names:
            features = _matrix(table["features"])
        return cls(
            track=np.array(table["track"].to_pylist(), dtype=np.str_),
            label=np.array(table["label"].to_pylist(), dtype=np.str_),
            index=table["index"].to_numpy(),
            start_s=table["start_s"].to_numpy(),
            spectrogram=picture,
            features=features,
        )


def _binary(matrix: NDArray[np.uint8]) -> pa.Array:
    pixels = pa.py_buffer(np.ascontiguousarray(matrix))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(matrix.shape[1]), len(matrix), [None, pixels])


def _pixels(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    chunk = _one_chunk(column)
    width = column.type.byte_width
    values = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
    return values[chunk.offset * width : (chunk.offset + len(chunk)) * width].reshape(-1, width)


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = _one_chunk(column).flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, column.type.list_size)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
