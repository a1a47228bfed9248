"""The console command: finds the subcommand, runs it, turns errors into messages.

Knows nothing about what the subcommands do. Their modules import what is heavy only when they run, so that help answers
at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from genre_ray.cli import data, doctor, evaluate, features, predict, promote, serve, validate
from genre_ray.errors import GenreRayError
from genre_ray.events import say, speaking

_MODULES = (data, evaluate, predict, features, serve, promote, validate, doctor)

_EXAMPLES = """from a folder of music to a service:
  genre-ray data path/to/music                    what is there, what is wrong with it, how it splits
  genre-ray tune --data path/to/music             search, fit the winner, score it: results/<name>/best and report.html
  genre-ray evaluate --data path/to/music --recipe results/hybrid/best --protocol artist-cv
                                                  the winner's recipe, fitted and scored on folds that share no artist
  genre-ray predict song.mp3                      the genres of a song
  genre-ray serve                                 the same over HTTP
  genre-ray doctor                                what this machine lacks

Each has its own --help with examples. Without any data, `genre-ray tune` composes a corpus and runs on that.
"""


def parser() -> argparse.ArgumentParser:
    """The options of all subcommands; `tune` has its own parser."""
    top = argparse.ArgumentParser(
        prog="genre-ray",
        description="From a folder of music to a genre classifier that answers over HTTP.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="show the version and exit")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="full tracebacks and logging")
    shared.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: a JSON object a line on standard error"
    )
    commands = top.add_subparsers(dest="command", metavar="command", title="commands")
    commands.add_parser(
        "tune", help="search with Ray Tune and Optuna (same as python -m genre_ray.tune)", add_help=False
    )
    for module in _MODULES:
        name, summary, description = module.NAME, module.SUMMARY, module.DESCRIPTION
        options = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[shared],
        )
        module.add_options(options)
        options.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. 0: done; 1: done, and what was checked is not in order; 2: an error that names its remedy."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["tune"]:
        from genre_ray.tune.command import main as tune

        return tune(given[1:])
    top = parser()
    options = top.parse_args(given)
    if options.version:
        from importlib.metadata import version

        print(f"genre_ray {version('genre_ray')}")
        return 0
    if options.command is None:
        top.print_help()
        return 2
    with speaking(options.log_format, debug=options.debug):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        status: int = options.run(options)
    except GenreRayError as error:
        if options.debug:
            raise
        say(sys.stderr, explain(error), level="error", found=error.found, remedy=error.remedy)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def explain(error: GenreRayError) -> str:
    """An error as a few lines for a terminal."""
    lines = [f"error: {error.message}"]
    for name in ("found", "expected", "remedy"):
        value = getattr(error, name)
        if value:
            lines.append(f"  {name + ':':<10}{value}")
    return "\n".join(lines)
