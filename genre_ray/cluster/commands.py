"""The `ray start` commands of a launcher file and of Kubernetes' rayStartParams, against the options Ray really has.

Knows nothing about clouds.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from genre_ray.cluster.problem import Problem, inside, spelling

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - looked for, not bound


def check_start(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of head_start_ray_commands and worker_start_ray_commands: unknown options, missing ones, open doors."""
    head = {"--head": "makes it the head", "--autoscaling-config": "is what starts workers"}
    yield from _check_list(document, "head_start_ray_commands", head)
    yield from _check_list(document, "worker_start_ray_commands", {"--address": "is where the head is"})


def check_option(name: str, value: object, place: str) -> Iterator[Problem]:
    """Problems of one option of `ray start`, given without its dashes."""
    if f"--{name}" not in _options():
        known = [option.removeprefix("--") for option in _options()]
        yield Problem(field=place, what="no option of `ray start`", value=value, remedy=spelling(name, known))
    elif name == "dashboard-host" and value in _EVERYWHERE:
        yield Problem(
            field=place,
            what="opens the dashboard, which runs any code, on every address",
            value=value,
            remedy="use 127.0.0.1; `ray dashboard` reaches it by SSH",
        )


def _check_list(document: Mapping[str, Any], field: str, needed: Mapping[str, str]) -> Iterator[Problem]:
    commands = document.get(field)
    if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
        return
    options: dict[str, str | None] = {}
    for index, command in enumerate(commands):
        for name, value in _parse(command):
            options[name] = value
            yield from check_option(name.removeprefix("--"), value, inside(field, index))
    if not any(re.search(r"\bray start\b", command) for command in commands):
        yield Problem(field=field, what="never says `ray start`", remedy="add it, or leave the field to Ray's default")
        return
    for name, reason in needed.items():
        if name not in options:
            yield Problem(field=field, what=f"lacks {name}", remedy=f"add it to `ray start`: it {reason}")


def _parse(command: str) -> Iterator[tuple[str, str | None]]:
    """The options after `ray start` up to the end of that command, each with its value where it has one."""
    found = re.search(r"\bray start\b([^;&|]*)", command)
    words = shlex.split(found[1]) if found else []
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, given, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else "--"
        yield name, value if given else (None if following.startswith("--") else following)


@lru_cache
def _options() -> frozenset[str]:
    # Ray's command line is slow to import, and most files are checked without it.
    from ray.scripts.scripts import start

    return frozenset(option for parameter in start.params for option in parameter.opts)
