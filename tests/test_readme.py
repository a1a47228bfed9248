"""The README is true: its commands are understood, its files exist, its tree is whole."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from genre_ray.cli.command import parser as command_parser
from genre_ray.tune.command import parser as tune_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README[README.index("## Where things are") :]


def commands() -> Iterator[str]:
    for block in re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            command = line.split("  #")[0].strip()
            if command:
                yield command


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "genre_ray").rglob("*.py") if path.name != "__init__.py"
    )


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("genre-ray ")])
def test_genre_ray_commands_are_understood(command: str) -> None:
    assert command_parser().parse_args(shlex.split(command)[1:]) is not None


@pytest.mark.parametrize("command", [c for c in commands() if "python -m genre_ray.tune" in c])
def test_tune_commands_are_understood(command: str) -> None:
    words = shlex.split(command)
    options = tune_parser().parse_args(words[words.index("genre_ray.tune") + 1 :])
    assert options.config is None or (ROOT / options.config).exists()


def test_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {c.split()[1] for c in commands() if c.startswith("make ")}
    assert named
    assert named <= known


def test_linked_and_named_files_exist() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    named = re.findall(r"(?:tune_configs|serve_configs|cluster|benchmarks|docs)/[\w./-]+\.(?:yaml|py|md|png)", README)
    missing = [name for name in {*linked, *named} if not name.startswith("http") and not (ROOT / name).exists()]
    assert missing == []


def test_the_tree_has_every_module_with_a_line() -> None:
    missing = [name for name in modules() if not re.search(rf"^{re.escape(Path(name).name)}\s+\S", TREE, re.MULTILINE)]
    assert missing == []


def test_the_tree_names_nothing_that_is_gone() -> None:
    block = re.search(r"```text\n(.*?)```", TREE, re.DOTALL)
    assert block is not None
    here = {Path(name).name for name in modules()}
    listed = re.findall(r"^([\w]+\.py)\s", block.group(1), re.MULTILINE)
    assert [name for name in listed if name not in here] == []


def test_every_module_says_what_it_is() -> None:
    silent = [name for name in modules() if not ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8")))]
    assert silent == []
