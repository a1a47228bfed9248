"""The command line of a search: parse, call, print."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from genre_ray.errors import ConfigError, GenreRayError
from genre_ray.events import say, speaking
from genre_ray.tune.config import TuneConfig, load

_EXAMPLES = """examples:
  python -m genre_ray.tune
      a search of a few minutes on the embedded corpus (tune_configs/smoke.yaml)
  python -m genre_ray.tune --data path/to/gtzan
      the real search (tune_configs/hybrid.yaml) on GTZAN in Kaggle's layout, or on a folder with a subfolder per genre
  python -m genre_ray.tune --config tune_configs/paper.yaml --data path/to/gtzan
      the report's three models under the report's protocol
  python -m genre_ray.tune --data path/to/gtzan --time-budget 30m
      trials for half an hour, then the final fit
  python -m genre_ray.tune --data path/to/gtzan --resume
      go on with a search that was stopped, killed, or ran out of budget
  python -m genre_ray.tune --address auto --data s3://bucket/music
      on a machine of a cluster; from elsewhere: ray job submit --working-dir . -- python -m genre_ray.tune ...
  python -m genre_ray.tune --address auto --data s3://bucket/music --gpus 0.25 --concurrency 32
      on a cluster that starts with no GPU: the autoscaler brings machines for what waits

what is left in results/<name>/:
  best/        the checkpoint; `serve run serve_configs/hybrid.yaml` finds it
  report.html  scores on the test part, per genre, confusion matrix, curves, calibration
  search.html  every trial: scores, parameters, time line;  trials.csv: the same as a table
  study.journal  the Optuna study; `optuna-dashboard study.journal` opens it
"""


def parser() -> argparse.ArgumentParser:
    """The options of `python -m genre_ray.tune`."""
    options = argparse.ArgumentParser(
        prog="python -m genre_ray.tune",
        description="Search the hybrid CNN + MLP with Ray Tune and Optuna, fit the winner, score it on the test part.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "--config", type=Path, help="search file; without it smoke.yaml, or hybrid.yaml when --data is given"
    )
    options.add_argument(
        "--data", help="folder, manifest (CSV or Parquet) or URI (s3://...); without it the embedded corpus is composed"
    )
    options.add_argument("--output", default="results", help="folder or URI (s3://...) of results (default: results)")
    options.add_argument("--name", help="name of the search, instead of the file's")
    options.add_argument("--resume", action="store_true", help="go on with the newest search of this name")
    options.add_argument(
        "--resume-or-start",
        action="store_true",
        help="the same, or begin where there is none: for jobs that are retried",
    )
    options.add_argument("--address", help="Ray cluster: auto or host:6379; without it, this machine")
    options.add_argument("--trials", type=int, help="number of trials, instead of the file's")
    options.add_argument("--time-budget", help="time for the trials, such as 90s, 30m, 2h, instead of the file's")
    options.add_argument("--gpus", type=float, help="GPUs of a trial, fractions allowed, instead of the file's")
    options.add_argument("--concurrency", type=int, help="trials at a time, instead of the file's")
    options.add_argument("--cache", help="folder or URI of prepared tracks (default: the user's cache folder)")
    options.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: a JSON object a line on standard error"
    )
    options.add_argument("--debug", action="store_true", help="full tracebacks and logging")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the search; 0 when done, 2 for an error that names its remedy, 130 after Ctrl-C."""
    options = parser().parse_args(argv)
    with speaking(options.log_format, debug=options.debug):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    try:
        config = configure(options)
        from genre_ray.tune.run import search  # after the file is checked: importing Ray takes seconds

        outcome = search(
            config,
            data=options.data,
            output=options.output,
            resume=options.resume or options.resume_or_start,
            or_start=options.resume_or_start,
            address=options.address,
            cache=options.cache,
            stream=sys.stderr,
        )
    except GenreRayError as error:
        if options.debug:
            raise
        say(sys.stderr, f"error: {error}", level="error", found=error.found, remedy=error.remedy)
        return 2
    except KeyboardInterrupt:
        return 130
    print(outcome.text())
    return 0


def configure(options: argparse.Namespace) -> TuneConfig:
    """The search file with the options of the command line laid over it."""
    config = load(options.config or default_config("hybrid.yaml" if options.data else "smoke.yaml"))
    budget = {"trials": options.trials, "time_budget": options.time_budget, "concurrency": options.concurrency}
    given = {key: value for key, value in budget.items() if value is not None}
    changes: dict[str, object] = {"search": config.search.model_dump() | given} if given else {}
    if options.gpus is not None:
        changes["resources"] = config.resources.model_dump() | {"gpus": options.gpus}
    if options.name:
        changes["name"] = options.name
    if not changes:
        return config
    from genre_ray.config import parse

    return parse(TuneConfig, config.model_dump(mode="json", by_alias=True) | changes, origin="command line")


def default_config(name: str) -> Path:
    """`tune_configs/<name>`, from here or from beside the package."""
    for root in (Path("tune_configs"), Path(__file__).parents[2] / "tune_configs"):
        if (root / name).exists():
            return root / name
    raise ConfigError(f"tune_configs/{name} is not here", remedy="name a search file with --config")
