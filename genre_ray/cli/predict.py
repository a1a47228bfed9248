"""`genre-ray predict`: the genres of songs, from their files. Knows nothing about how they are predicted."""

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from genre_ray.cli.output import opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genre_ray.schema import Prediction, Track

NAME = "predict"
SUMMARY = "the genres of songs"
DESCRIPTION = """Predict the genres of audio files, or of GTZAN figures together with their feature rows. A file that
cannot be read is named on the error output and passed over; exit status 1 tells that there were some. Answers whose
top probability is below the threshold that the checkpoint has learnt are marked unsure.
Without --checkpoint, the newest results/*/best is used, or the one that ships with the package.
With --output FILE.parquet (a path or URI) any number of tracks is predicted in parallel with Ray. An interrupted run
goes on where it was, and of a finished table only what is new, has changed or may now be read is predicted."""
EXAMPLES = """examples:
  genre-ray predict song.mp3
  genre-ray predict album/ --top 1 --format csv --output genres.csv
  genre-ray predict s3://bucket/music --output s3://bucket/genres.parquet --embedding --address auto --concurrency 64
  genre-ray predict long_mix.flac --clips --format jsonl            every clip with its start
  genre-ray predict blues00000.png --features features_30_sec.csv   a figure and its row
"""

_BATCH = 32  # files whose answers are waited for together


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument(
        "files", nargs="+", metavar="FILE", help="audio files, PNG figures, folders, tables (.csv, .parquet) or URIs"
    )
    options.add_argument("--checkpoint", help="checkpoint directory or URI; default, single: those that ship")
    options.add_argument(
        "--unsure-below", type=_probability, metavar="P", help="answers of a lower top probability are unsure"
    )
    options.add_argument("--features", type=Path, metavar="CSV", help="feature rows of the figures, by file name")
    options.add_argument("--top", type=_count, default=3, metavar="N", help="genres to show (default: 3)")
    options.add_argument("--format", choices=("table", "csv", "jsonl"), default="table", help="default: table")
    options.add_argument("--clips", action="store_true", help="jsonl: the probabilities of every clip, too")
    options.add_argument(
        "--output", "--out", metavar="FILE", help="instead of the standard output; *.parquet: see above"
    )
    options.add_argument("--embedding", action="store_true", help="*.parquet: the model's last hidden layer, too")
    options.add_argument("--address", help="*.parquet: Ray cluster; without it, this machine")
    options.add_argument(
        "--concurrency",
        type=_count,
        metavar="N",
        help="*.parquet: actors, of one CPU each; a cluster may grow for them (default: by its CPUs and the tracks)",
    )
    options.add_argument("--again", action="store_true", help="*.parquet: take nothing from an earlier run")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _probability(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0.0 <= found <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability, 0 to 1")
    return found


def run(options: argparse.Namespace) -> int:
    """Write an answer for each track; 1 when some had to be passed over."""
    tracks = tracks_of(options.files, options.features)
    from genre_ray.serve.settings import ServeArgs, find_checkpoint

    checkpoint = find_checkpoint(ServeArgs(checkpoint=options.checkpoint))
    if options.output is not None and options.output.endswith(".parquet"):
        return _to_parquet(tracks, checkpoint, options)
    from genre_ray.errors import TrackError
    from genre_ray.inference import Predictor  # after the files are found: importing torch takes seconds

    predictor = Predictor.open(checkpoint, device=options.device)
    if options.unsure_below is not None:
        predictor.unsure_below = options.unsure_below
    passed_over = 0
    with opened(options.output) as stream:
        writer = _Writer(stream, options, predictor.labels, predictor.version)
        for start in range(0, len(tracks), _BATCH):
            for answer in predictor.predict_many(tracks[start : start + _BATCH]):
                if isinstance(answer, TrackError):
                    passed_over += 1
                    print(f"passed over: {answer}", file=sys.stderr)
                else:
                    writer.write(answer)
    if passed_over:
        print(f"{passed_over} of {len(tracks)} tracks passed over", file=sys.stderr)
    return 1 if passed_over else 0


def _to_parquet(tracks: list["Track"], checkpoint: str, options: argparse.Namespace) -> int:
    from genre_ray.connection import connect
    from genre_ray.predict import predict_catalog

    with connect(options.address):
        done = predict_catalog(
            tracks,
            checkpoint,
            options.output,
            embedding=options.embedding,
            device=options.device,
            unsure_below=options.unsure_below,
            concurrency=options.concurrency,
            resume=not options.again,
        )
    print(done.describe())
    return 1 if done.failed else 0


def tracks_of(paths: Sequence[str], features: Path | None) -> list["Track"]:
    """A track for each file, and for each in a folder or table, in order; figures with their rows.

    A figure whose row cannot be used is named on the error output and has none. CatalogError or ConfigError when a
    place holds nothing that can be predicted.
    """
    from genre_ray.data import inbox
    from genre_ray.data.drafts import FIGURE_SUFFIXES
    from genre_ray.schema import Track

    rows = _rows(features) if features is not None else {}
    tracks: list[Track] = []
    for path in paths:
        if Path(path).suffix.lower() in FIGURE_SUFFIXES:
            tracks.append(Track(id=path, figure=path, features=_features(path, rows)))
        else:
            found = inbox.tracks_of(path)
            alone = len(found) == 1 and found[0].audio is not None and not Path(path).is_dir()
            tracks += [replace(found[0], id=path)] if alone else found
    return tracks


def _rows(path: Path) -> dict[str, dict[str, object]]:
    """The rows by track; of two for one the first, as the catalog has it."""
    from genre_ray.data.drafts import track_id
    from genre_ray.data.tables import read_table

    table = read_table(path, str(path))
    table.require(("filename",))
    rows: dict[str, dict[str, object]] = {}
    for row in table.rows:
        rows.setdefault(track_id(str(row.get("filename") or "")), row)
    return rows


def _features(figure: str, rows: dict[str, dict[str, object]]) -> "NDArray[np.float64] | None":
    from genre_ray.data.drafts import feature_row, track_id

    row = rows.get(track_id(Path(figure).name))
    if row is None:
        return None
    values, wrong = feature_row(row)
    if values is None:
        print(f"{figure}: its feature row is left out: {wrong}", file=sys.stderr)
    return values


class _Writer:
    """Writes answers in the format that was asked for."""

    def __init__(self, stream: TextIO, options: argparse.Namespace, labels: tuple[str, ...], version: str) -> None:
        self._stream, self._options, self._version = stream, options, version
        self._csv = csv.writer(stream, lineterminator="\n") if options.format == "csv" else None
        if self._csv is not None:
            self._csv.writerow(("file", "genre", *labels, "unsure", "model"))

    def write(self, answer: "Prediction") -> None:
        """One answer."""
        if self._csv is not None:
            shares = (f"{p:.6f}" for p in answer.probabilities)
            self._csv.writerow((answer.track, answer.label, *shares, answer.unsure, self._version))
        elif self._options.format == "jsonl":
            self._stream.write(json.dumps(self._plain(answer), ensure_ascii=False) + "\n")
        else:
            order = answer.probabilities.argsort()[::-1][: self._options.top]
            shown = "  ".join(f"{answer.labels[i]:<10} {answer.probabilities[i]:5.1%}" for i in order)
            self._stream.write(f"{answer.track}: {shown}{'  unsure' if answer.unsure else ''}\n")
        self._stream.flush()

    def _plain(self, answer: "Prediction") -> dict[str, Any]:
        named = {label: round(float(p), 6) for label, p in zip(answer.labels, answer.probabilities, strict=True)}
        plain: dict[str, Any] = {"file": answer.track, "genre": answer.label, "unsure": answer.unsure}
        plain["probabilities"] = named
        if self._options.clips:
            plain["clips"] = [
                {"start_s": round(clip.start_s, 3), "probabilities": [round(float(p), 6) for p in clip.probabilities]}
                for clip in answer.clips
            ]
        return plain | {"model": self._version}
