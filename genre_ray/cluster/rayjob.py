"""RayJob: its command as the shell and the search would read it, and what the operator's API lets pass.

Takes the fields as checked. Runs nothing.
"""

import argparse
import importlib.util
import json
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.problem import Problem
from genre_ray.cluster.shell import check_command, simple_commands
from genre_ray.errors import ConfigError
from genre_ray.parsing import yaml_documents
from genre_ray.serve.addresses import PACKAGE, nearest
from genre_ray.serve.environment import check_runtime_env

_SEARCH = "genre_ray.tune"
_MODULES = ("genre_ray", _SEARCH)


def _problem(place: str, line: str) -> Problem:
    what, _, remedy = line.partition("; ")
    return Problem(field=place, what=what, remedy=remedy or "mend it there")


def check(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of a RayJob's specification."""
    if bool(spec.get("rayClusterSpec")) == bool(spec.get("clusterSelector")):
        yield Problem(
            field="spec.rayClusterSpec",
            what="a job needs a cluster of its own or a clusterSelector, one of the two",
            remedy="give exactly one",
        )
    if not spec.get("entrypoint") and spec.get("submissionMode") != "InteractiveMode":
        yield Problem(
            field="spec.entrypoint", what="is missing", remedy="write the command, python -m genre_ray.tune ..."
        )
    elif spec.get("entrypoint") and spec.get("submissionMode") == "InteractiveMode":
        yield Problem(
            field="spec.entrypoint",
            what="is not run in InteractiveMode",
            value=spec["entrypoint"],
            remedy="write submissionMode: K8sJobMode",
        )
    elif spec.get("entrypoint"):
        yield from _check_entrypoint(spec["entrypoint"], "spec.entrypoint")
    if spec.get("ttlSecondsAfterFinished") and not spec.get("shutdownAfterJobFinishes"):
        yield Problem(
            field="spec.ttlSecondsAfterFinished",
            what="has no effect without shutdownAfterJobFinishes",
            value=spec["ttlSecondsAfterFinished"],
            remedy="write shutdownAfterJobFinishes: true",
        )
    if spec.get("entrypointResources"):
        yield from _check_json(spec["entrypointResources"], "spec.entrypointResources")
    if spec.get("runtimeEnvYAML"):
        yield from _check_runtime_env(spec["runtimeEnvYAML"], "spec.runtimeEnvYAML")


def _check_json(text: str, place: str) -> Iterator[Problem]:
    try:
        fits = isinstance(json.loads(text), dict)
    except json.JSONDecodeError:
        fits = False
    if not fits:
        yield Problem(field=place, what="is no JSON object", value=text, remedy='write one like {"GPU": 1}')


def _check_runtime_env(text: str, place: str) -> Iterator[Problem]:
    try:
        documents = yaml_documents(text, origin=place)
    except ConfigError as error:
        yield Problem(field=place, what=f"is no valid YAML: {error.found}", remedy="mend it at that line")
        return
    for line in check_runtime_env(documents[0] if documents else None, place):
        here, _, said = line.partition(": ")
        yield _problem(here, said)


def _check_entrypoint(command: str, place: str) -> Iterator[Problem]:
    found = list(check_command(command, place))
    yield from found
    if found:
        return
    for words in simple_commands(command):
        if "-m" in words[1:-1] and words[0].rsplit("/", 1)[-1].startswith("python"):
            at = words.index("-m") + 1
            yield from _check_module(words[at], words[at + 1 :], place)


def _check_module(module: str, arguments: list[str], place: str) -> Iterator[Problem]:
    remedy = nearest(module, _MODULES)
    ours = module.split(".")[0] == PACKAGE
    if (ours and not _is_there(module)) or (not ours and remedy.startswith("did you mean")):
        yield Problem(field=place, what=f"no module {module}", value=module, remedy=remedy)
    elif module == _SEARCH and (said := _search_fault(arguments)):
        yield Problem(field=place, what=said, value=" ".join(arguments), remedy="see python -m genre_ray.tune --help")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _search_fault(arguments: list[str]) -> str | None:
    """What the search says of its command line, and of the search file with that laid over it."""
    from genre_ray.tune import command  # with pydantic and the models' configuration, which other manifests do not need

    parser = command.parser()
    parser.exit_on_error, parser.allow_abbrev = False, False
    try:
        options, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        return str(error)
    if unknown:
        return f"unrecognized arguments: {' '.join(unknown)}"
    try:
        if options.config is not None and options.config.parts[:1] == ("tune_configs",):
            options.config = command.default_config("/".join(options.config.parts[1:]))
        elif options.config is not None and not options.config.exists():
            return None  # a file of the image's
        command.configure(options)
    except ConfigError as error:
        return error.message.replace("is not here", "is not there")
    return None
