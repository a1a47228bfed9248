"""The 57 features of a folder of audio as one table, and on request its spectrograms as figures in Kaggle's layout.

Knows nothing about models.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import fs

from genre_ray.config import ClipConfig
from genre_ray.data.cache import EXTRACTION_VERSION
from genre_ray.data.drafts import numbered_id
from genre_ray.data.inbox import Sources, tracks_of
from genre_ray.data.shards import Process
from genre_ray.data.tabulation import Tabulated, tabulate
from genre_ray.data.transport import place
from genre_ray.errors import AudioError
from genre_ray.schema import FEATURE_COLUMNS, Tail, Track

FIGURES_FOLDER = "images_original"
"""Kaggle's name for the folder of figures."""

_SCHEMA = pa.schema(
    [
        ("filename", pa.string()),
        ("track", pa.string()),
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("length", pa.int64()),
        *((name, pa.float64()) for name in FEATURE_COLUMNS),
        ("label", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
    ]
)


def export_features(
    sources: Sources,
    out: str | Path,
    *,
    figures: str | Path | None = None,
    clip: ClipConfig | None = None,
    tail: Tail = "dropped",
    resume: bool = True,
    progress: bool = True,
    stream: TextIO | None = None,
) -> Tabulated:
    """Compute the features of all audio of `sources` and write them as the Parquet file `out`.

    A row for each clip (a track of up to 1.1 clips is one): `filename`, `length` in samples at 22050 Hz, the 57
    columns and `label`, as in GTZAN's table, besides `track`, `path`, `start_s`, and `error_kind` and `error` of a
    track that could not be used. `figures` is a folder or URI: each clip's figure is written to
    `images_original/<label>/` in it. `tail` as in `features.extract`: by default the columns are the table's, not those
    of today's librosa. An interrupted run goes on where it was. Errors as `tracks_of` and `tabulate`.
    """
    clip = clip or ClipConfig()
    facts = {
        "genre_ray.extraction": str(EXTRACTION_VERSION),
        "genre_ray.clip": clip.model_dump_json(),
        "genre_ray.tail": tail,
        "genre_ray.figures": place(None if figures is None else str(figures)) or "",
    }
    work = FeatureRows(clip=clip, tail=tail, figures=facts["genre_ray.figures"] or None)
    return tabulate(
        tracks_of(sources),
        work,
        out,
        facts=facts,
        verb="computing features of",
        resume=resume,
        progress=progress,
        stream=stream,
    )


@dataclass(frozen=True, kw_only=True)
class FeatureRows:
    """The work of the export: a row of features for each clip of a track, and its figure."""

    clip: ClipConfig
    tail: Tail
    figures: str | None

    def open(self) -> Process:
        """Nothing to load: the decoders are imported by the first track."""
        return self._rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table:
        """A row with the error and no features."""
        row = {"track": track.id, "path": place(track.audio), "label": track.label}
        return pa.Table.from_pylist([row | {"error_kind": kind, "error": message}], schema=_SCHEMA)

    def _rows(self, track: Track) -> Iterator[pa.Table]:
        from genre_ray import analysis, audio, features  # in the worker; the driver needs none of it

        if track.audio is None:
            raise AudioError(
                f"{track.id}: has no audio", kind="incomplete", track=track.id, expected="an audio file to compute from"
            )
        for index, (start_s, samples) in enumerate(audio.read_clips(track.audio, clip=self.clip, track=track.id)):
            if self.figures is None:
                values = features.extract(samples, tail=self.tail)
            else:
                picture, values = analysis.analyse(samples, form="frames", tail=self.tail)
                self._write_figure(track, index, picture)
            yield self._row(track, start_s, len(samples), values)

    def _row(self, track: Track, start_s: float, length: int, values: NDArray[np.float64]) -> pa.Table:
        path = place(track.audio)
        row = {
            "filename": path.rsplit("/", 1)[-1] if path else None,
            "track": track.id,
            "path": path,
            "start_s": start_s,
            "length": length,
            "label": track.label,
            **dict(zip(FEATURE_COLUMNS, values.tolist(), strict=True)),
        }
        return pa.Table.from_pylist([row], schema=_SCHEMA)

    def _write_figure(self, track: Track, index: int, frames: NDArray[np.uint8]) -> None:
        from genre_ray.spectrogram import figure_from_frames

        assert self.figures is not None
        content = io.BytesIO()
        figure_from_frames(frames[0]).save(content, format="PNG")
        write_file(f"{self.figures}/{figure_path(track, index)}", content.getvalue())


def figure_path(track: Track, index: int) -> str:
    """Where Kaggle's layout has the figure: `images_original/blues/blues00000.png` for `blues.00000`.

    A track with another kind of id keeps its name; clips after the first have their number behind it.
    """
    name = track.id.replace(".", "") if numbered_id(track.id) == track.id else track.id.replace("/", "_")
    return f"{FIGURES_FOLDER}/{track.label or 'unlabelled'}/{name}{f'.{index}' * (index > 0)}.png"


def write_file(target: str, content: bytes) -> None:
    """Write `content` to a path or URI; on disk under another name first, so that the file is whole or not there."""
    if "://" in target:
        filesystem, path = fs.FileSystem.from_uri(target)
        with filesystem.open_output_stream(path) as stream:
            stream.write(content)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
