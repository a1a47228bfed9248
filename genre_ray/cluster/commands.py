"""The `ray start` commands of a launcher file and of Kubernetes' rayStartParams, against the options Ray really has.

Knows nothing about clouds.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import click

from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.serve.addresses import LAST_PORT, host_fault

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - looked for, not bound
_PORT = "6379"
_BOOTSTRAP = "~/ray_bootstrap_config.yaml"
_LEAST_STORE = 75 * 1024**2
"""Ray refuses a smaller object store (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES)."""

_OF_THEIR_OWN = {"CPU": "num-cpus", "GPU": "num-gpus", "memory": "memory", "object_store_memory": "object-store-memory"}

Options = dict[str, tuple[str | None, str]]


def check_start(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of head_start_ray_commands and worker_start_ray_commands: options, values, ports, open doors."""
    head, worker = (_options_of(document, f"{who}_start_ray_commands") for who in ("head", "worker"))
    needed = {"--head": "makes it the head", "--autoscaling-config": "is what starts workers"}
    yield from _check_list(document, "head_start_ray_commands", head, needed)
    yield from _check_list(document, "worker_start_ray_commands", worker, {"--address": "is where the head is"})
    config, place = head.get("--autoscaling-config", (None, ""))
    if config is not None and config.replace("$HOME", "~") != _BOOTSTRAP:
        yield Problem(
            field=place,
            what=f"no autoscaling config: the launcher writes it to {_BOOTSTRAP}",
            value=config,
            remedy=f"write {_BOOTSTRAP}",
        )
    address, place = worker.get("--address", (None, ""))
    if address is not None:
        yield from _check_address(address, head.get("--port", (None, ""))[0] or _PORT, place)


def check_option(name: str, value: object, place: str) -> Iterator[Problem]:
    """Problems of one option of `ray start`, given without its dashes; None where it has no value."""
    option = _options().get(f"--{name}")
    if option is None:
        known = [option.removeprefix("--") for option in _options()]
        yield Problem(field=place, what="no option of `ray start`", value=value, remedy=spelling(name, known))
    elif option.is_flag:
        if value not in (None, "", "true", "false"):
            yield Problem(field=place, what=f"--{name} takes no value", value=value, remedy="leave it out")
    elif value is None:
        yield Problem(field=place, what=f"--{name} needs a value", remedy=f"write --{name}=VALUE")
    elif not re.search(r"\$|FILL_IN", str(value)):
        yield from _check_value(option, name, str(value), place)


def _check_value(option: click.Option, name: str, value: str, place: str) -> Iterator[Problem]:
    try:
        given = option.type.convert(value, option, None)
    except (click.ClickException, ValueError) as error:
        said = error.message.rstrip(".") if isinstance(error, click.ClickException) else str(error)
        yield Problem(field=place, what=f"--{name}: {said}", value=value, remedy="see `ray start --help`")
        return
    what, remedy = _fault(name, given)
    if what:
        yield Problem(field=place, what=f"--{name} {what}", value=value, remedy=remedy)
    elif name == "dashboard-host" and value in _EVERYWHERE:
        yield Problem(
            field=place,
            what="opens the dashboard, which runs any code, on every address",
            value=value,
            remedy="use 127.0.0.1; `ray dashboard` reaches it by SSH",
        )


def _fault(name: str, value: Any) -> tuple[str, str]:
    """What is wrong with a value of the right type, and the remedy; two empty texts when nothing is."""
    if name.endswith("port") and not 0 <= value <= LAST_PORT:
        return "is no port; give a whole number", f"from 0 to {LAST_PORT}"
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return "is below 0", "give 0 or more"
    if name in ("memory", "object-store-memory") and value < _LEAST_STORE:
        return "is a few bytes", "count in bytes: 4000000000"
    if name == "dashboard-host" and (host_fault(value) or (value.startswith("0.") and value not in _EVERYWHERE)):
        return "is no address", "use 127.0.0.1"
    if name == "resources":
        return _resources_fault(value)
    return "", ""


def _resources_fault(text: str) -> tuple[str, str]:
    example = 'write one like {"slots": 2}'
    try:
        # KubeRay's own examples quote it twice: '"{\\"slots\\": 2}"'
        resources = json.loads(text.strip('"').replace('\\"', '"'))
    except json.JSONDecodeError:
        return "is no JSON object", example
    if not isinstance(resources, dict) or not all(isinstance(amount, int | float) for amount in resources.values()):
        return "is no JSON object of numbers", example
    for name, option in _OF_THEIR_OWN.items():
        if name in resources:
            return f"names {name}, which has an option of its own", f"use --{option}"
    return "", ""


def _check_address(address: str, port: str, place: str) -> Iterator[Problem]:
    host, _, given = address.rpartition(":")
    if host not in ("$RAY_HEAD_IP", "${RAY_HEAD_IP}") and (host.startswith("$") or host_fault(host)):
        yield Problem(
            field=place, what="no address of the head", value=address, remedy=f"write $RAY_HEAD_IP:{port}, its port too"
        )
    elif given != port:
        yield Problem(
            field=place, what=f"is not the port of the head, {port}", value=address, remedy=f"write {host}:{port}"
        )


def _commands(document: Mapping[str, Any], field: str) -> list[str] | None:
    commands = document.get(field)
    if isinstance(commands, list) and all(isinstance(command, str) for command in commands):
        return commands
    return None


def _options_of(document: Mapping[str, Any], field: str) -> Options:
    """Each option of `ray start` in the list, with its value and the place of its command."""
    return {
        name: (value, inside(field, index))
        for index, command in enumerate(_commands(document, field) or [])
        for name, value in _parse(command)
    }


def _check_list(
    document: Mapping[str, Any], field: str, options: Options, needed: Mapping[str, str]
) -> Iterator[Problem]:
    commands = _commands(document, field)
    if commands is None:
        return
    for name, (value, place) in options.items():
        yield from check_option(name.removeprefix("--"), value, place)
    if not any(re.search(r"\bray start\b", command) for command in commands):
        yield Problem(field=field, what="never says `ray start`", remedy="add it, or leave the field to Ray's default")
        return
    for name, reason in needed.items():
        if name not in options:
            yield Problem(field=field, what=f"lacks {name}", remedy=f"add it to `ray start`: it {reason}")


def _parse(command: str) -> Iterator[tuple[str, str | None]]:
    """The options after `ray start` up to the end of that command, each with its value where it has one."""
    found = re.search(r"\bray start\b([^;&|]*)", command)
    try:
        words = shlex.split(found[1]) if found else []
    except ValueError:  # a quote that is not closed, which the shell's own check says better
        return
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, given, value = word.partition("=")
        option, following = _options().get(name), words[index + 1] if index + 1 < len(words) else "--"
        bare = following.startswith("--") or (option is not None and option.is_flag)
        yield name, value if given else (None if bare else following)


@lru_cache
def _options() -> dict[str, click.Option]:
    # Ray's command line is slow to import, and most files are checked without it.
    from ray.scripts.scripts import start

    options = [parameter for parameter in start.params if isinstance(parameter, click.Option)]
    return {name: option for option in options for name in option.opts}
