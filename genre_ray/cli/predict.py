"""`genre-ray predict`: the genres of songs, from their files, with a checkpoint."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from genre_ray.schema import Prediction, Track

NAME = "predict"
SUMMARY = "the genres of songs"
DESCRIPTION = """Predict the genres of audio files, or of GTZAN figures together with their feature rows. A file that
cannot be read is named on the error output and passed over; exit status 1 tells that there were some.
Without --checkpoint, the newest results/*/best is used, or the one that ships with the package."""
EXAMPLES = """examples:
  genre-ray predict song.mp3
  genre-ray predict album/ --top 1 --format csv --output genres.csv
  genre-ray predict long_mix.flac --clips --format jsonl            every clip with its start
  genre-ray predict blues00000.png --features features_30_sec.csv   a figure and its row
"""

_BATCH = 32  # files whose answers are waited for together


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="audio files, PNG figures, or folders of them"
    )
    options.add_argument("--checkpoint", help="checkpoint directory or URI")
    options.add_argument("--features", type=Path, metavar="CSV", help="feature rows of the figures, by file name")
    options.add_argument("--top", type=int, default=3, metavar="N", help="genres to show (default: 3)")
    options.add_argument("--format", choices=("table", "csv", "jsonl"), default="table", help="default: table")
    options.add_argument("--clips", action="store_true", help="jsonl: the probabilities of every clip, too")
    options.add_argument("--output", type=Path, metavar="FILE", help="instead of the standard output")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def run(options: argparse.Namespace) -> int:
    """Write an answer for each file; 1 when a file had to be passed over."""
    from genre_ray.errors import TrackError

    tracks = list(tracks_of(options.files, options.features))
    from genre_ray.inference import Predictor  # after the files are found: importing torch takes seconds
    from genre_ray.serve.settings import ServeArgs, find_checkpoint

    predictor = Predictor.open(find_checkpoint(ServeArgs(checkpoint=options.checkpoint)), device=options.device)
    passed_over = 0
    target = options.output.open("w", encoding="utf-8", newline="") if options.output else nullcontext(sys.stdout)
    with target as stream:
        writer = _Writer(stream, options, predictor.labels, predictor.version)
        for start in range(0, len(tracks), _BATCH):
            for answer in predictor.predict_many(tracks[start : start + _BATCH]):
                if isinstance(answer, TrackError):
                    passed_over += 1
                    print(f"passed over: {answer}", file=sys.stderr)
                else:
                    writer.write(answer)
    if passed_over:
        print(f"{passed_over} of {len(tracks)} files passed over", file=sys.stderr)
    return 1 if passed_over else 0


def tracks_of(paths: list[Path], features: Path | None) -> Iterator["Track"]:
    """A track for each file, in order, figures with their rows. ConfigError when there is none."""
    from genre_ray.data.drafts import AUDIO_SUFFIXES, FIGURE_SUFFIXES, track_id
    from genre_ray.errors import ConfigError
    from genre_ray.schema import Track

    rows = _rows(features) if features is not None else {}
    found = False
    for path in _expand(paths, AUDIO_SUFFIXES | FIGURE_SUFFIXES):
        found = True
        if path.suffix.lower() in FIGURE_SUFFIXES:
            yield Track(id=str(path), figure=path, features=rows.get(track_id(path.name)))
        else:
            yield Track(id=str(path), audio=path)
    if not found:
        raise ConfigError("no audio file or figure there", found=", ".join(map(str, paths)), expected="music")


def _rows(path: Path) -> dict[str, Any]:
    from genre_ray.data.drafts import track_id
    from genre_ray.data.tables import read_table
    from genre_ray.features import from_row

    table = read_table(path, str(path))
    table.require(("filename",))
    return {track_id(str(row["filename"])): from_row(row, track=str(row["filename"])) for row in table.rows}


def _expand(paths: list[Path], suffixes: frozenset[str]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
        else:
            yield path


class _Writer:
    """Writes answers in the format that was asked for."""

    def __init__(self, stream: TextIO, options: argparse.Namespace, labels: tuple[str, ...], version: str) -> None:
        self._stream, self._options, self._version = stream, options, version
        self._csv = csv.writer(stream, lineterminator="\n") if options.format == "csv" else None
        if self._csv is not None:
            self._csv.writerow(("file", "genre", *labels, "model"))

    def write(self, answer: "Prediction") -> None:
        """One answer."""
        if self._csv is not None:
            shares = (f"{p:.6f}" for p in answer.probabilities)
            self._csv.writerow((answer.track, answer.label, *shares, self._version))
        elif self._options.format == "jsonl":
            self._stream.write(json.dumps(self._plain(answer), ensure_ascii=False) + "\n")
        else:
            order = answer.probabilities.argsort()[::-1][: self._options.top]
            shown = "  ".join(f"{answer.labels[i]:<10} {answer.probabilities[i]:5.1%}" for i in order)
            self._stream.write(f"{answer.track}: {shown}\n")
        self._stream.flush()

    def _plain(self, answer: "Prediction") -> dict[str, Any]:
        named = {label: round(float(p), 6) for label, p in zip(answer.labels, answer.probabilities, strict=True)}
        plain: dict[str, Any] = {"file": answer.track, "genre": answer.label, "probabilities": named}
        if self._options.clips:
            plain["clips"] = [
                {"start_s": round(clip.start_s, 3), "probabilities": [round(float(p), 6) for p in clip.probabilities]}
                for clip in answer.clips
            ]
        return plain | {"model": self._version}
