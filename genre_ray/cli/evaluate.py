"""`genre-ray evaluate`: a configuration or a checkpoint's recipe under a protocol, or a checkpoint as it is.

Parses, calls, prints; knows nothing about fitting and scoring.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genre_ray.data.protocol import ProtocolConfig
    from genre_ray.data.streaming import StreamingConfig
    from genre_ray.evaluate import Evaluation
    from genre_ray.experiment import Recipe

NAME = "evaluate"
SUMMARY = "score under a protocol, with intervals, leaks and a report; resumes where it was stopped"
DESCRIPTION = """Fit a configuration, or the recipe of a checkpoint, on every split of a protocol under every seed,
and score each test part once; or score a checkpoint as it is, on tracks that it has not seen. All cores or GPUs are
used through Ray. The same command, given again, goes on where it was stopped."""
EXAMPLES = """examples:
  genre-ray evaluate --data path/to/gtzan --recipe results/hybrid/best --protocol paper --seeds 42 43 44 45 46
  genre-ray evaluate --data path/to/gtzan --recipe results/hybrid/best --protocol artist-cv
  genre-ray evaluate --data path/to/gtzan --config tune_configs/paper.yaml --variant mlp --protocol random-cv
  genre-ray evaluate --data other/music --checkpoint results/hybrid/best --part all
  genre-ray evaluate --data path/to/gtzan --checkpoint results/hybrid/best --protocol paper

what is left in the output folder:
  report.html, report.json   scores with intervals, leaks, per genre, confusion, curves, calibration, mistakes
  runs/*.json                each run with its history and the probabilities of every test track
"""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("--data", required=True, help="folder, manifest (.csv, .parquet) or URI (s3://...)")
    what = options.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--recipe",
        metavar="CHECKPOINT",
        help="fit again what this checkpoint was made from; default, single: those that ship",
    )
    what.add_argument("--config", type=Path, help="fit the first point of a search file, or its base")
    what.add_argument("--checkpoint", help="score this checkpoint as it is; nothing is fitted")
    options.add_argument("--variant", help="of --config: the variant to take")
    options.add_argument("--point", type=int, metavar="N", help="of --config: take the N-th of its points (from 0)")
    names = ("paper", "random-cv", "artist-cv", "filtered", "custom")
    options.add_argument("--protocol", choices=names, help="how tracks become train, validation and test part")
    options.add_argument("--folds", type=int, default=5, help="of a cross-validation (default: 5)")
    options.add_argument("--repeats", type=int, default=1, help="of a cross-validation (default: 1)")
    options.add_argument("--split-seed", type=int, default=42, help="divides the tracks (default: 42)")
    for name in ("train", "validation", "test"):
        options.add_argument(f"--{name}-list", type=Path, metavar="FILE", help=f"custom: {name} tracks, one a line")
    options.add_argument("--seeds", type=int, nargs="+", default=[42], help="training seeds (default: 42)")
    fitted = options.add_argument("--fitted-on", choices=("train", "train+validation"), default="train+validation")
    fitted.help = "parts that the scored fit sees (default: train+validation)"
    calibration = options.add_argument("--calibration", choices=("validation", "recipe", "none"), default="validation")
    calibration.help = """where the temperature comes from: a fit of its own that leaves the validation part out (twice
        the time), the checkpoint of --recipe, or nowhere (default: validation)"""
    options.add_argument(
        "--part", choices=("train", "validation", "test", "all"), default="test", help="of --checkpoint"
    )
    options.add_argument("--fold", type=int, default=1, help="of --checkpoint under a cross-validation (default: 1)")
    seen = options.add_argument("--seen", choices=("refuse", "leave-out", "keep"), default="refuse")
    seen.help = "of --checkpoint: tracks that it was fitted on (default: refuse)"
    options.add_argument("--output", type=Path, help="default: results/evaluate-<what>-<protocol>")
    options.add_argument("--again", action="store_true", help="run everything again, even what is there already")
    options.add_argument("--address", help="Ray cluster: auto or host:6379; without it, this machine")
    options.add_argument("--cpus", type=int, default=1, help="cores of one run (default: 1)")
    options.add_argument("--cache", help="folder or URI of prepared tracks (default: the user's cache folder)")
    streaming = options.add_argument("--streaming", choices=("auto", "always", "never"))
    streaming.help = (
        "clips as a stream from the prepared shards; auto: beyond 2 GB (default: as --config says, or auto)"
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    finished = _score_checkpoint(options) if options.checkpoint else _evaluate(options)
    print(finished.text())
    print(f"report: {finished.report}")
    return 0


def _score_checkpoint(options: argparse.Namespace) -> "Evaluation":
    from genre_ray.rescore import score_checkpoint

    return score_checkpoint(
        options.checkpoint,
        options.data,
        options.part,
        output=options.output or _folder(options, Path(options.checkpoint)),
        protocol=protocol_of(options) if options.protocol else None,
        fold=options.fold,
        seen=options.seen,
        address=options.address,
        cache=options.cache,
        streaming=streaming_of(options),
    )


def _evaluate(options: argparse.Namespace) -> "Evaluation":
    from genre_ray.errors import ConfigError

    if options.protocol is None:
        raise ConfigError("no protocol named", remedy="add --protocol paper, random-cv, artist-cv, filtered or custom")
    protocol, recipe = protocol_of(options), recipe_of(options)
    from genre_ray.evaluate import evaluate  # after everything is checked: importing Ray takes seconds

    name = Path(options.recipe).parent.name or options.recipe if options.recipe else options.config.stem
    return evaluate(
        options.data,
        recipe,
        protocol,
        output=options.output or _folder(options, Path(options.recipe or options.config)),
        seeds=list(dict.fromkeys(options.seeds)),
        fitted_on="train" if options.fitted_on == "train" else "train + validation",
        calibration=options.calibration,
        resume=not options.again,
        address=options.address,
        cache=options.cache,
        streaming=streaming_of(options),
        cpus=options.cpus,
        title=f"{name}{f', {options.variant}' if options.variant else ''}: {options.protocol}",
    )


def protocol_of(options: argparse.Namespace) -> "ProtocolConfig":
    """The protocol of the command line. ConfigError when its options do not fit together."""
    from genre_ray.config import parse
    from genre_ray.data.protocol import ProtocolConfig

    given = {"name": options.protocol, "folds": options.folds, "repeats": options.repeats, "seed": options.split_seed}
    lists = {f"{name}_list": getattr(options, f"{name}_list") for name in ("train", "validation", "test")}
    return parse(ProtocolConfig, given | lists, origin="command line")


def recipe_of(options: argparse.Namespace) -> "Recipe":
    """What is to be fitted, from a checkpoint or a search file."""
    from genre_ray.errors import ConfigError
    from genre_ray.experiment import Recipe

    if options.recipe:
        return Recipe.of_checkpoint(options.recipe)
    from genre_ray.tune.config import load
    from genre_ray.tune.names import VARIANT

    search = load(options.config)
    points = [dict(point) for point in search.points if options.variant in (None, point.get(VARIANT))]
    if options.variant is not None and options.variant not in search.variants:
        known = ", ".join(search.variants) or "none"
        raise ConfigError(f"{options.config}: no variant {options.variant!r}", expected=known)
    if options.point is not None and not 0 <= options.point < len(points):
        raise ConfigError(f"{options.config}: no point {options.point}", found=f"{len(points)} points, counted from 0")
    bare = {VARIANT: options.variant or next(iter(search.variants))} if search.variants else {}
    params = points[options.point or 0] if points else bare
    return Recipe.of(search.resolve(params))


def streaming_of(options: argparse.Namespace) -> "StreamingConfig":
    """When clips are streamed: as the search file says, and the command line above it."""
    from genre_ray.data.streaming import StreamingConfig

    if options.config:
        from genre_ray.tune.config import load

        said = load(options.config).streaming
    else:
        said = StreamingConfig()
    return said.model_copy(update={"mode": options.streaming}) if options.streaming else said


def _folder(options: argparse.Namespace, source: Path) -> Path:
    """A folder that the same command finds again."""
    what = f"{source.parent.name}-{source.stem}".strip("-") if source.suffix != ".yaml" else source.stem
    parts = ["evaluate", what, options.variant, options.protocol or options.part]
    return Path("results") / "-".join(str(part) for part in parts if part).strip("-")
