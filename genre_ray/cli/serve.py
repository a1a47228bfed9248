"""`genre-ray serve`: a service from one file, until it is told to stop.

Parses, calls, prints; knows nothing about services.
"""

import argparse
import logging
from pathlib import Path

NAME = "serve"
SUMMARY = "answer over HTTP"
DESCRIPTION = """Serve a checkpoint over HTTP with Ray Serve: what `serve run FILE` does, after a check of the file; and
it says when the service is ready. Without a checkpoint in the file, the newest results/*/best is served, or the one
that ships with the package. Ctrl-C ends it."""
EXAMPLES = """examples:
  genre-ray serve                                              serve_configs/hybrid.yaml
  genre-ray serve --checkpoint results/hybrid/best
  genre-ray serve serve_configs/hybrid.yaml --port 9000
  GENRE_RAY_TOKENS=secret genre-ray serve --host 0.0.0.0       for other machines, with a bearer token
  curl -F audio=@song.mp3 http://127.0.0.1:8000/v1/predict/audio
"""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("config", nargs="?", type=Path, metavar="FILE", help="default: serve_configs/hybrid.yaml")
    options.add_argument("--checkpoint", help="checkpoint directory or URI, instead of the file's")
    options.add_argument("--host", help="address to listen on, instead of the file's")
    options.add_argument("--port", type=int, help="port to listen on, instead of the file's")
    options.add_argument("--address", help="Ray cluster to serve from; without it, this machine")


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    path = options.config or default_config()
    from genre_ray.serve.config import validate

    validate(path)  # a misspelt key is told in a second, before Ray is imported as a whole
    from genre_ray.serve.running import run as serve

    logging.getLogger("genre_ray.serve.running").setLevel(logging.INFO)  # where it listens, and when it is ready
    serve(path, address=options.address, host=options.host, port=options.port, checkpoint=options.checkpoint)
    return 0


def default_config() -> Path:
    """`serve_configs/hybrid.yaml`, from here or from beside the package."""
    from genre_ray.errors import ConfigError

    for root in (Path("serve_configs"), Path(__file__).parents[2] / "serve_configs"):
        if (root / "hybrid.yaml").exists():
            return root / "hybrid.yaml"
    raise ConfigError("serve_configs/hybrid.yaml is not here", remedy="name a service file: genre-ray serve FILE")
