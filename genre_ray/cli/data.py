"""`genre-ray data`: what a corpus holds, what is wrong with it, how it splits and what leaks; or compose one.

Parses, calls, prints; knows nothing about data sets.
"""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from genre_ray.cli.output import opened

if TYPE_CHECKING:
    from genre_ray.data.catalog import Catalog
    from genre_ray.data.leaks import Split

NAME = "data"
SUMMARY = "what a folder of music holds, what is wrong with it, how it splits; compose a corpus"
DESCRIPTION = """Show the tracks of a corpus, its faults, and what leaks from training to test under each protocol.
A corpus is GTZAN as Kaggle packs it (any part of it), audio in genre-named subfolders, or a table (CSV or
Parquet): a manifest with path and label, or file names with features and label."""
EXAMPLES = """examples:
  genre-ray data path/to/gtzan
  genre-ray data path/to/gtzan --protocol artist-cv --folds 10   every fold by itself
  genre-ray data music.csv --prepare                             decode every track too, in parallel, into the cache
  genre-ray data path/to/music --json catalog.json               all faults with all their tracks, for a machine
  genre-ray data --compose corpus --tracks-per-genre 50          ten genres by formula, with audio, from a seed
"""

_PROTOCOLS = ("paper", "random-cv", "artist-cv", "filtered", "custom")


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("root", nargs="?", metavar="DIR", help="folder, manifest (.csv, .parquet) or URI (s3://...)")
    options.add_argument(
        "--protocol", choices=_PROTOCOLS, help="show the splits of this one (default: a line for each)"
    )
    options.add_argument("--folds", type=int, default=5, help="folds of a cross-validation (default: 5)")
    options.add_argument("--shown", type=int, default=5, metavar="N", help="tracks named for each fault (default: 5)")
    options.add_argument("--json", metavar="FILE", help="write everything to this file too")
    options.add_argument("--prepare", action="store_true", help="decode every track, in parallel, into the cache")
    options.add_argument("--cache", help="folder or URI of prepared tracks (default: the user's cache folder)")
    options.add_argument("--address", help="Ray cluster for --prepare; without it, this machine")
    options.add_argument("--compose", type=Path, metavar="DIR", help="compose the embedded corpus in this folder")
    options.add_argument("--tracks-per-genre", type=int, default=20, help="for --compose (default: 20)")
    options.add_argument("--duration", type=float, default=10.0, metavar="S", help="for --compose, s (default: 10)")
    options.add_argument("--seed", type=int, default=0, help="for --compose (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Compose if asked, then show the corpus."""
    from genre_ray.config import parse
    from genre_ray.data.protocol import ProtocolConfig
    from genre_ray.errors import ConfigError

    if (options.root is None) == (options.compose is None):
        raise ConfigError(
            "name a corpus to look at, or --compose DIR to make one",
            found="both" if options.root else "neither",
            remedy="genre-ray data path/to/music",
        )
    if options.shown < 0:
        raise ConfigError(f"--shown {options.shown}", expected="a number of tracks from 0")
    parse(ProtocolConfig, {"folds": options.folds}, origin="genre-ray data")
    root = options.root
    if options.compose is not None:
        from genre_ray.data.synthesis import compose

        root = str(
            compose(
                options.compose,
                tracks_per_genre=options.tracks_per_genre,
                duration_s=options.duration,
                seed=options.seed,
            )
        )
    with nullcontext() if options.json is None else opened(options.json, option="--json") as stream:
        _show(root, options, stream)
    return 0


def _show(root: str, options: argparse.Namespace, stream: TextIO | None) -> None:
    from genre_ray.data.catalog import open_catalog

    catalog = open_catalog(root)
    if options.prepare:
        catalog = _prepared(catalog, options)
    print(catalog.summary())
    print(catalog.fault_report(options.shown))
    splits = _splits(catalog, options)
    if options.protocol is not None:
        from genre_ray.data.faults import merged

        leaking = merged(fault for split in splits for fault in split.faults(catalog))
        print(*(f"  {fault.describe(options.shown)}" for fault in leaking), sep="\n", end="\n" * bool(leaking))
        catalog = catalog.with_faults(leaking)
    if stream is not None:
        facts = catalog.to_json() | {"splits": [_plain(split) for split in splits]}
        stream.write(json.dumps(facts, indent=1) + "\n")


def _plain(split: "Split") -> dict[str, object]:
    sizes = {part: len(getattr(split, part)) for part in ("train", "validation", "test")}
    left_over = {"absent": list(split.absent), "unused": list(split.unused)}
    return {"name": split.name, **sizes, "leaks": split.leaks.to_json(), **left_over}


def _prepared(catalog: "Catalog", options: argparse.Namespace) -> "Catalog":
    from genre_ray.config import InputConfig
    from genre_ray.connection import connect
    from genre_ray.data.pipeline import prepare

    able = [
        any(track.audio is not None or track.figure is not None for track in catalog.tracks),
        any(track.audio is not None or track.features is not None for track in catalog.tracks),
    ]
    parts = dict(zip(("spectrogram", "features"), able, strict=True))
    inputs = InputConfig.model_validate({name: None for name, there in parts.items() if not there})
    with connect(options.address) if options.address else nullcontext():
        prepared = prepare(catalog, inputs, cache=options.cache)
    return prepared.catalog


def _splits(catalog: "Catalog", options: argparse.Namespace) -> list["Split"]:
    """Print the table of splits and leaks; the splits that could be made."""
    from genre_ray.data.protocol import ProtocolConfig
    from genre_ray.data.splits import make_splits
    from genre_ray.errors import SplitError

    print("splits:                train / validation / test    share an artist   duplicate pairs cross")
    made: list[Split] = []
    for name in _PROTOCOLS if options.protocol is None else (options.protocol,):
        try:
            splits = make_splits(catalog, ProtocolConfig(name=name, folds=options.folds))
        except SplitError as error:
            if options.protocol is not None:
                raise
            print(f"  {name:<20} not for this corpus: {error.found or error.message}")
            continue
        made += splits
        for line in _lines(name, splits, each=options.protocol is not None):
            print(f"  {line}")
        for split in splits:
            print(*(f"  {split.name}: {part}\n" for part in split.left_over()), sep="", end="")
    return made


def _lines(name: str, splits: list["Split"], *, each: bool) -> list[str]:
    if each or len(splits) == 1:
        return [_line(split.name, [split]) for split in splits]
    return [_line(f"{name}, {len(splits)} folds", splits)]


def _line(name: str, splits: list["Split"]) -> str:
    """One line; several folds as means of the sizes and sums of the leaks."""
    n = len(splits)
    sizes = [round(sum(len(getattr(split, part)) for split in splits) / n) for part in ("train", "validation", "test")]
    leaks = [split.leaks for split in splits]
    tested = sum(leak.test_tracks for leak in leaks)
    crossing, known = sum(leak.artists_crossing for leak in leaks), sum(leak.artist_known for leak in leaks)
    artists = f"{crossing} of {tested}" if known else "artists unknown"
    pairs = f"{sum(leak.duplicates_crossing for leak in leaks)} of {sum(leak.duplicate_pairs for leak in leaks)}"
    return f"{name:<20} {sizes[0]:>6} / {sizes[1]:>6} / {sizes[2]:>6} {artists:>20} {pairs:>18}"
