"""`genre-ray validate`: the problems of search, service and cluster files, before anything is started.

Parses, calls, prints; knows nothing about what the files mean.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

NAME = "validate"
SUMMARY = "check search, service and cluster files (tune_configs/, serve_configs/, cluster/)"
DESCRIPTION = """Check YAML files: unknown keys, values out of range, spaces that Optuna cannot take, wrong names.
What a file is for is seen from its content. Nothing is started. Exit status 1 when a file has a problem."""
EXAMPLES = """examples:
  genre-ray validate tune_configs/hybrid.yaml
  genre-ray validate tune_configs serve_configs cluster      every YAML file in these folders
"""

Kind = Literal["search", "service", "cluster"]


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("files", nargs="+", type=Path, metavar="FILE", help="YAML files, or folders of them")


def run(options: argparse.Namespace) -> int:
    """Print each file with its problems; 1 when there are any."""
    found = 0
    for path in _expand(options.files):
        problems = list(check(path))
        found += len(problems)
        print("\n".join(problems) or f"{path}: ok")
    return 1 if found else 0


def check(path: Path) -> Iterator[str]:
    """The problems of one file, each naming file, field, value and remedy; nothing when it is in order."""
    from genre_ray.config import load_yaml_documents
    from genre_ray.errors import ConfigError

    try:
        kind = kind_of(next(iter(load_yaml_documents(path)), None))
        if kind is None:
            yield f"{path}: neither a search file (protocol), nor a service file (applications), nor a cluster file"
        elif kind == "search":
            from genre_ray.tune.config import load

            load(path)
        elif kind == "service":
            from genre_ray.serve.config import validate as validate_service

            validate_service(path)
        else:
            from genre_ray.cluster.validation import validate as validate_cluster

            yield from validate_cluster(path)
    except ConfigError as error:
        yield str(error)


def kind_of(document: Any) -> Kind | None:
    """What a YAML document is for, by the keys that only this kind has."""
    if not isinstance(document, Mapping):
        return None
    if "applications" in document:
        return "service"
    if "provider" in document or "cluster_name" in document or "apiVersion" in document:
        return "cluster"
    return "search" if {"protocol", "base", "space"} & set(document) else None


def _expand(paths: list[Path]) -> Iterator[Path]:
    from genre_ray.errors import ConfigError

    for path in paths:
        if path.is_dir():
            files = sorted(file for pattern in ("*.yaml", "*.yml") for file in path.rglob(pattern))
            if not files:
                raise ConfigError(f"{path}: no YAML file in this folder", remedy="name a file, or another folder")
            yield from files
        else:
            yield path
