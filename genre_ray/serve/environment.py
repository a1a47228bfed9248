"""Environment variables and runtime environments in a file: which names are read, and what their values may be.

Ray takes a variable that nobody reads, and reads `yes` as no. Knows nothing about applications.
"""

import ast
import difflib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from genre_ray.serve import guard
from genre_ray.serve.addresses import import_fault, nearest, with_value

NUMBERS = (guard.MAX_BODY, guard.CLIENT_TIMEOUT, guard.MAX_IN_PROGRESS)
"""What the guard of HAProxy reads."""

OURS = ("GENRE_RAY_TOKENS", "GENRE_RAY_TOKENS_FILE", "GENRE_RAY_CACHE", *NUMBERS)

_NAME = re.compile(r"RAY_SERVE_[A-Z0-9_]+")
_OF_RAY = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_HEAD_IP")
_SET_ANYWAY = ("HOME", "PATH", "USER", "PWD", "LANG", "SHELL", "HOSTNAME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
_WHOLE = "a whole number"
_SAID = {
    "bool": "0 or 1",
    "int": _WHOLE,
    "int_positive": f"{_WHOLE} above 0",
    "int_non_negative": f"{_WHOLE}, 0 or more",
    "float": "a number",
    "float_positive": "a number above 0",
    "float_non_negative": "a number, 0 or more",
}
_ABOVE_NOTHING = ("RAY_SERVE_HAPROXY_NBTHREAD", "RAY_SERVE_HAPROXY_MAXCONN", "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE")
_MODES = ("token", "disabled", "k8s")


def variable_fault(name: str, value: object) -> str | None:
    """What is wrong with a variable: a name that is nearly one that is read, or a value that its reader cannot take."""
    kinds = _kinds()
    near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.85)
    if name not in kinds and (near or name.startswith(("RAY_SERVE_", "GENRE_RAY_"))):
        remedy = f"did you mean {near[0]}?" if near else "leave it out, or look it up in Serve's constants.py"
        return f"this version reads no such variable; {remedy}"
    kind, text = kinds.get(name, "text"), str(value)
    if kind in _SAID and not _fits(kind, text):
        return f"not {_SAID[kind]}; write it in digits, in quotes"
    if kind == "function" and value:
        return import_fault(value)
    if name == "RAY_AUTH_MODE" and not text.startswith("$") and text not in _MODES:
        return f"no such mode; {nearest(value, _MODES)}"
    return None


def check_variables(variables: object, place: str) -> Iterator[str]:
    """Problems of `env_vars`, each with its place."""
    if not isinstance(variables, Mapping):
        yield f"{place}: not a mapping (value {variables!r:.80}); write NAME: value lines"
        return
    for name, value in variables.items():
        here = f"{place}.{name}"
        if not isinstance(name, str) or not isinstance(value, str):
            yield f"{here}: not text (value {value!r:.80}); put it in quotes"
            continue
        if fault := variable_fault(name, value):
            yield f"{here}: {with_value(fault, value)}"
        known = {*_SET_ANYWAY, *os.environ, *variables}
        for inner in re.findall(r"\$\{(\w+)\}", value):
            if inner not in known:
                yield f"{here}: no such variable as {inner} (value {value!r:.80}); {nearest(inner, _SET_ANYWAY)}"


def check_runtime_env(document: object, place: str) -> Iterator[str]:
    """Problems of a runtime environment: Ray itself only warns of an unknown field, where nobody looks."""
    from ray.runtime_env import RuntimeEnv

    if not isinstance(document, Mapping):
        yield f"{place}: not a mapping (value {document!r:.80}); write key: value lines"
        return
    unknown = [key for key in document if key not in RuntimeEnv.known_fields]
    for key in unknown:
        remedy = nearest(key, RuntimeEnv.known_fields)
        yield f"{place}.{key}: there is no such key (value {document[key]!r:.80}); {remedy}"
    found = list(check_variables(document.get("env_vars", {}), f"{place}.env_vars"))
    yield from found
    if not found and not unknown:
        try:
            RuntimeEnv(**document)
        except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            yield f"{place}: Ray cannot read it: {' '.join(str(error).split())}"


def _fits(kind: str, text: str) -> bool:
    try:
        number = float(text) if kind.startswith("float") else int(text)
    except ValueError:
        return False
    if kind == "bool":
        return text in ("0", "1")
    return number > 0 if kind.endswith("_positive") else number >= 0 if kind.endswith("_non_negative") else True


@lru_cache
def _kinds() -> dict[str, str]:
    """Each variable that is read, with the kind of its value: those of Serve as its own source reads them."""
    from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
    from ray.serve._private import constants

    source = inspect.getsource(constants)
    kinds = dict.fromkeys((*_NAME.findall(source), *OURS, *_OF_RAY), "text")
    for node in ast.walk(ast.parse(source)):
        for name, kind in _read_by(node):
            kinds[name] = kind
    kinds |= dict.fromkeys((*NUMBERS, *_ABOVE_NOTHING), "int_positive")
    kinds |= {name: "function" for name in kinds if name.endswith("CALLBACK_IMPORT_PATH")}
    return kinds | {WORKER_PROCESS_SETUP_HOOK_ENV_VAR: "function"}


def _read_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The variable and kind where a node is `get_env_int(NAME, ...)`, `int(os.environ.get(NAME))` or `... == "1"`."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called.startswith("get_env_") and called != "get_env_str":
            yield from ((name, called.removeprefix("get_env_")) for name in _names_in(node))
        elif called in ("int", "float"):
            yield from ((name, called) for name in _names_in(node))
    elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "'1'":
        yield from ((name, "bool") for name in _names_in(node))


def _names_in(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and _NAME.fullmatch(inner.value):
            yield inner.value


def as_mapping(value: Any) -> dict[str, Any]:
    """A mapping as it is; anything else as an empty one, left to whoever checks the form."""
    return value if isinstance(value, dict) else {}
