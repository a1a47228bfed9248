"""`genre-ray serve`: checks the service file, then hands over to `serve run`.

Parses, calls, prints; knows nothing about services.
"""

import argparse
import os
import sys
from pathlib import Path

NAME = "serve"
SUMMARY = "answer over HTTP (checks the file, then runs `serve run`)"
DESCRIPTION = """Serve a checkpoint over HTTP with Ray Serve: the same as `serve run FILE`, after a check of the file.
Without a checkpoint in the file, the newest results/*/best is served, or the one that ships with the package."""
EXAMPLES = """examples:
  genre-ray serve                                              serve_configs/hybrid.yaml
  genre-ray serve --checkpoint results/hybrid/best
  genre-ray serve serve_configs/hybrid.yaml --port 9000 --haproxy
  curl -F audio=@song.mp3 http://127.0.0.1:8000/predict
"""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("config", nargs="?", type=Path, metavar="FILE", help="default: serve_configs/hybrid.yaml")
    options.add_argument("--checkpoint", help="checkpoint directory or URI, instead of the file's")
    options.add_argument("--host", help="address to listen on, instead of the file's")
    options.add_argument("--port", type=int, help="port to listen on, instead of the file's")
    options.add_argument("--haproxy", action="store_true", help="HAProxy in front: about ten times the requests a core")


def run(options: argparse.Namespace) -> int:
    """Check, then become `serve run`; returns only if that cannot be started."""
    from genre_ray.cli.validate import check
    from genre_ray.errors import ConfigError

    path = options.config or default_config()
    problems = list(check(path))
    if problems:
        raise ConfigError("\n".join(problems), remedy="mend the file; genre-ray validate checks it without serving")
    path = _with_options(path, options)
    environment = dict(os.environ)
    if options.haproxy:
        environment["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    sys.stdout.flush()
    os.execve(  # noqa: S606 - no shell is wanted
        sys.executable, [sys.executable, "-m", "ray.serve.scripts", "run", str(path)], environment
    )


def default_config() -> Path:
    """`serve_configs/hybrid.yaml`, from here or from beside the package."""
    from genre_ray.errors import ConfigError

    for root in (Path("serve_configs"), Path(__file__).parents[2] / "serve_configs"):
        if (root / "hybrid.yaml").exists():
            return root / "hybrid.yaml"
    raise ConfigError("serve_configs/hybrid.yaml is not here", remedy="name a service file: genre-ray serve FILE")


def _with_options(path: Path, options: argparse.Namespace) -> Path:
    """The file itself, or a copy for this run with what the command line says laid over it."""
    if options.checkpoint is None and options.host is None and options.port is None:
        return path
    import tempfile

    import yaml

    from genre_ray.config import load_yaml

    document = load_yaml(path)
    http = {key: value for key, value in (("host", options.host), ("port", options.port)) if value is not None}
    if http:
        document["http_options"] = (document.get("http_options") or {}) | http
    if options.checkpoint is not None:
        named = options.checkpoint if "://" in options.checkpoint else str(Path(options.checkpoint).resolve())
        for application in document["applications"]:
            application["args"] = (application.get("args") or {}) | {"checkpoint": named}
    with tempfile.NamedTemporaryFile("w", prefix="genre-ray-serve-", suffix=".yaml", delete=False) as copy:
        yaml.safe_dump(document, copy, sort_keys=False)
    return Path(copy.name)
