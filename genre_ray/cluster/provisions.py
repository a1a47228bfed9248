"""What the commands of a launcher file need to find on the machines: mounted files, environments, packages, the token.

Looks at mount sources on this machine as `ray up` would: `~` is the home folder, and a relative path counts from
the folder in which the command is run. Knows no cloud's own fields.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genre_ray.cluster import spot
from genre_ray.cluster.problem import Problem, inside
from genre_ray.cluster.shell import check_command, simple_commands

_LISTS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)
_SCHEMES = {"aws": ("s3", "s3a"), "gcp": ("gs", "gcs")}
_SPEAKS_THROUGH = {"aws": "boto3", "gcp": "google-api-python-client"}
_PROJECT = ("pyproject.toml", "README.md", "genre_ray")
"""What `pip install -e .` reads of this project."""

_TOKEN = "~/.ray/auth_token"  # noqa: S105 - the path of a file
_IN_AN_ENVIRONMENT = re.compile(r"(.+)/bin/(?:python[\d.]*|pip3?|ray|serve|genre-ray)")
_ON_PATH = re.compile(r"((?:\$HOME|\$\{HOME\}|~)/[\w./-]+?)/bin(?=[:\"'\s]|$)")
_LONGEST_TOKEN = 4096


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of every command of a launcher file, and of its file_mounts."""
    kind = spot.cloud(document["provider"])
    mounts = document.get("file_mounts")
    mounts = mounts if isinstance(mounts, Mapping) else {}
    yield from _check_mounts(mounts)
    placed = list(_commands(document))
    broken = False
    for place, command in placed:
        for problem in check_command(command, place, _SCHEMES.get(kind, ())):
            broken = True
            yield problem
    yield from _check_token(document, mounts)
    if not broken:
        needs = _Needs({_normal(str(remote), "~") for remote in mounts}, placed, baked="docker" in document)
        for place, command in placed:
            yield from needs.check(place, command)
        module = _SPEAKS_THROUGH.get(kind)
        if module and needs.installs and not any(module in command for _, command in placed):
            yield Problem(
                field="head_setup_commands",
                what=f"{module} is installed by no command, and the autoscaler speaks to the cloud through it",
                remedy=f"add pip install {module}",
            )


def _commands(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = document.get("available_node_types")
    owners = {"": document} | {
        f"available_node_types.{name}": node
        for name, node in (kinds.items() if isinstance(kinds, Mapping) else ())
        if isinstance(node, Mapping)
    }
    for place, owner in owners.items():
        for field in _LISTS:
            commands = owner.get(field)
            for index, command in enumerate(commands if isinstance(commands, list) else ()):
                if isinstance(command, str):
                    yield inside(inside(place, field), index), command


class _Needs:
    """Which paths on the machines will be there: mounted, or made by a command."""

    def __init__(self, mounts: set[str], placed: list[tuple[str, str]], *, baked: bool) -> None:
        self.installs = False
        self._mounts, self._baked, self._made = mounts, baked, set[str]()
        for _, command in placed:
            for folder, words in _located(command):
                self.installs |= not baked and "pip" in words and "install" in words
                self._made |= {_normal(word, folder) for word in _made_by(words)}

    def check(self, place: str, command: str) -> Iterator[Problem]:
        roots = {_normal(root, "~") for root in _ON_PATH.findall(command)}
        for folder, words in _located(command):
            if words[0] == "cd" and len(words) > 1 and not self._is_there(_normal(words[1], folder)):
                yield Problem(
                    field=place,
                    what="no folder that is mounted or made",
                    value=words[1],
                    remedy=f"mounted: {', '.join(sorted(self._mounts))}",
                )
            roots |= {_normal(found[1], folder) for word in words if (found := _IN_AN_ENVIRONMENT.fullmatch(word))}
            if "pip" in words and "install" in words:
                yield from self._check_install(words[words.index("install") + 1 :], folder, place)
        for root in sorted(roots):
            strange = root.startswith("~/") and not root.startswith("~/.") and "conda" not in root
            if strange and not self._baked and root not in self._made | self._mounts:
                yield Problem(
                    field=place,
                    what="an environment made by no command of this file",
                    value=root,
                    remedy=f"made: {', '.join(sorted(self._made)) or 'none; add python3 -m venv'}",
                )

    def _check_install(self, words: list[str], folder: str, place: str) -> Iterator[Problem]:
        for index, word in enumerate(words):
            option, given, value = word.partition("=")
            follows = value if given else words[index + 1] if index + 1 < len(words) else ""
            if option in ("-c", "-r", "--constraint", "--requirement", "-e", "--editable") and not follows:
                yield Problem(field=place, what=f"`{option}` needs a value", value=" ".join(words), remedy="add it")
            elif option in ("-c", "-r", "--constraint", "--requirement") and "://" not in follows:
                path = _normal(follows, folder)
                if not self._is_there(path, file=True):
                    yield Problem(
                        field=place, what="no file that is mounted", value=path, remedy="add it to file_mounts"
                    )
            elif re.fullmatch(r"\.(\[[\w,-]+\])?", word):
                missing = [name for name in _PROJECT if not self._is_there(f"{folder}/{name}", file=True)]
                for name in missing:
                    yield Problem(
                        field="file_mounts",
                        what=f"lacks {folder}/{name}, which {place} installs from",
                        remedy=f"add {folder}/{name}: {name}",
                    )

    def _is_there(self, path: str, *, file: bool = False) -> bool:
        """Outside the home folder anything may be there: the image decides."""
        if not path.startswith("~") or path == "~" or "$" in path:
            return True
        here = self._mounts | self._made
        above = any(path == known or path.startswith(f"{known}/") for known in here)
        return above or (not file and any(known.startswith(f"{path}/") for known in here))


def _located(command: str) -> Iterator[tuple[str, list[str]]]:
    """The simple commands of a command, each with the folder in which it runs."""
    folder = "~"
    for words in simple_commands(command):
        yield folder, words
        if words[0] == "cd":
            folder = _normal(words[1], folder) if len(words) > 1 else "~"


def _made_by(words: list[str]) -> list[str]:
    """The files and folders that a command makes, as far as its name tells."""
    given = [word for word in words[1:] if not word.startswith("-")]
    if words[0] in ("mkdir", "touch"):
        return given
    makes = words[0] in ("virtualenv", "mv", "cp", "tar", "unzip", "curl", "wget") or bool(
        {"venv", "clone"} & set(words)
    )
    return given[-1:] if makes else []


def _normal(path: str, folder: str) -> str:
    path = re.sub(r"^\$\{?HOME\}?", "~", path)
    return posixpath.normpath(path if path.startswith(("/", "~", "$")) else f"{folder}/{path}")


def _check_token(document: Mapping[str, Any], mounts: Mapping[Any, Any]) -> Iterator[Problem]:
    """Without a token, whoever reaches a port of Ray runs any code there."""
    starts = False
    elsewhere = False
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = document.get(field)
        for index, command in enumerate(commands if isinstance(commands, list) else ()):
            if not isinstance(command, str) or not re.search(r"\bray start\b", command):
                continue
            starts = True
            elsewhere |= re.search(r"\bRAY_AUTH_TOKEN(_PATH)?=", command) is not None
            if not re.search(r"\bRAY_AUTH_MODE=", command):
                yield Problem(
                    field=inside(field, index),
                    what="lacks RAY_AUTH_MODE=token: whoever reached its ports could run any code",
                    remedy="write export RAY_AUTH_MODE=token before `ray start`",
                )
    if starts and not elsewhere and not any(_normal(str(remote), "~") == _TOKEN for remote in mounts):
        yield Problem(
            field="file_mounts",
            what=f"lacks {_TOKEN}, the token that every call to the cluster must carry",
            remedy=f"add {_TOKEN}: {_TOKEN}",
        )


def _check_mounts(mounts: Mapping[Any, Any]) -> Iterator[Problem]:
    for remote, local in mounts.items():
        place = inside("file_mounts", remote)
        if not str(remote).startswith(("/", "~/")):
            yield Problem(field=place, what="is no absolute path on the nodes", remedy="begin it with ~/ or /")
        if not isinstance(local, str):
            yield Problem(
                field=place, what="is not a path", value=local, remedy="write the path of a file or folder here"
            )
        elif not Path(local).expanduser().exists():
            yield Problem(field=place, what="is not there", value=local, remedy=_where(local))
        elif str(remote).endswith("/auth_token") and not _is_token(local, mounts):
            yield Problem(field=place, what="is no token", value=local, remedy=_where("auth_token"))


def _is_token(local: str, mounts: Mapping[Any, Any]) -> bool:
    """One word, in a file that is mounted for nothing else."""
    path = Path(local).expanduser()
    if not path.is_file() or list(mounts.values()).count(local) > 1 or path.stat().st_size > _LONGEST_TOKEN:
        return False
    return len(path.read_bytes().split()) <= 1


def _where(local: str) -> str:
    if local.endswith("auth_token"):
        return "make it with `ray get-auth-token --generate`"
    if not local.startswith(("/", "~")):
        return "a relative path counts from the folder where the command is run: run it where pyproject.toml is"
    return "give a path that exists on this machine"
