"""`genre-ray features`: the 57 feature columns of recordings, computed as GTZAN's were, as a table.

Knows nothing about how they are computed.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from genre_ray.cli.output import opened

if TYPE_CHECKING:
    from genre_ray.config import ClipConfig

NAME = "features"
SUMMARY = "the 57 feature columns of recordings, as in GTZAN's CSV"
DESCRIPTION = """Compute the features of audio files, a row a clip, in the columns and order of GTZAN's CSV.
A file that cannot be read is named on the error output and passed over; exit status 1 tells that there were some.
With --output FILE.parquet (a path or URI) any number of tracks is worked on in parallel with Ray, and an interrupted
run goes on where it was."""
EXAMPLES = """examples:
  genre-ray features song.mp3
  genre-ray features path/to/music --output features.csv --jobs 8
  genre-ray features album/*.flac --clip 3 --format jsonl
  genre-ray features path/to/music --output features.parquet --figures figures    GTZAN's table and its figures
"""

Row = tuple[str, float, list[float]]
"""File, start of the clip in seconds, features."""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("files", nargs="+", metavar="FILE", help="audio files, folders, or URIs")
    options.add_argument("--clip", type=float, default=30.0, metavar="S", help="length of a clip, s (default: 30)")
    options.add_argument("--hop", type=float, metavar="S", help="from clip to clip, s (default: the length)")
    tail = options.add_argument("--tail", choices=("dropped", "kept"), default="dropped")
    tail.help = """last n %% 512 samples of the harmonic and percussive signals: dropped, as in librosa 0.7 and GTZAN's
        CSV, or kept, as in librosa since 0.8 (default: dropped)"""
    options.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="default: csv")
    options.add_argument("--output", metavar="FILE", help="instead of the standard output; *.parquet: see above")
    options.add_argument("--figures", metavar="DIR", help="*.parquet: write the spectrogram figures there, too")
    options.add_argument("--address", help="*.parquet: Ray cluster; without it, this machine")
    options.add_argument("--jobs", type=int, default=1, metavar="N", help="processes side by side (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Write a row for each clip; 1 when a file had to be passed over."""
    from genre_ray.config import ClipConfig, FeatureConfig, InputConfig, parse
    from genre_ray.errors import ConfigError

    clip = parse(ClipConfig, {"duration_s": options.clip, "hop_s": options.hop}, origin="command line")
    if options.output is not None and options.output.endswith(".parquet"):
        return _to_parquet(clip, options)
    files = list(_expand([Path(file) for file in options.files]))
    if not files:
        raise ConfigError("no audio file there", found=", ".join(map(str, options.files)), expected="audio files")
    passed_over = 0
    inputs = InputConfig(clip=clip, spectrogram=None, features=FeatureConfig(tail=options.tail))
    with opened(options.output) as stream:
        write = _csv_writer(stream) if options.format == "csv" else _json_writer(stream)
        for outcome in _in_parallel(files, inputs.model_dump(), options.jobs):
            if isinstance(outcome, str):
                passed_over += 1
                print(outcome, file=sys.stderr)
            else:
                for row in outcome:
                    write(row)
    if passed_over:
        print(f"{passed_over} of {len(files)} files passed over", file=sys.stderr)
    return 1 if passed_over else 0


def _to_parquet(clip: "ClipConfig", options: argparse.Namespace) -> int:
    from genre_ray.connection import connect
    from genre_ray.data.export import export_features

    sources = options.files[0] if len(options.files) == 1 else options.files
    with connect(options.address):
        done = export_features(sources, options.output, figures=options.figures, clip=clip, tail=options.tail)
    print(done.describe())
    return 1 if done.failed else 0


def rows_of(path: Path, inputs: dict[str, object]) -> list[Row] | str:
    """The rows of one file, or what is wrong with it. `inputs` holds the fields of an InputConfig."""
    from genre_ray.config import InputConfig
    from genre_ray.errors import TrackError
    from genre_ray.preprocessing import extract
    from genre_ray.schema import Track

    try:
        clips = list(extract(Track(id=str(path), audio=path), InputConfig.model_validate(inputs)))
    except TrackError as error:
        return f"passed over: {error}"
    return [(str(path), clip.start_s, clip.features.tolist()) for clip in clips if clip.features is not None]


def _in_parallel(files: list[Path], inputs: dict[str, object], jobs: int) -> Iterator[list[Row] | str]:
    """Outcomes in the order of the files; a worker holds one file at a time."""
    if jobs <= 1 or len(files) == 1:
        yield from (rows_of(path, inputs) for path in files)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(min(jobs, len(files))) as pool:
        yield from pool.map(rows_of, files, [inputs] * len(files))


def _expand(paths: list[Path]) -> Iterator[Path]:
    from genre_ray.data.drafts import AUDIO_SUFFIXES

    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
        else:
            yield path


def _csv_writer(stream: TextIO) -> Callable[[Row], None]:
    from genre_ray.schema import FEATURE_COLUMNS

    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("filename", "start_s", *FEATURE_COLUMNS))
    return lambda row: writer.writerow((row[0], f"{row[1]:g}", *(repr(value) for value in row[2])))


def _json_writer(stream: TextIO) -> Callable[[Row], None]:
    from genre_ray.schema import FEATURE_COLUMNS

    def write(row: Row) -> None:
        named = dict(zip(FEATURE_COLUMNS, row[2], strict=True))
        stream.write(json.dumps({"filename": row[0], "start_s": row[1], **named}) + "\n")

    return write
