"""Every YAML file of the project loads and is in order: search, service and cluster files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genre_ray.cli.validate import check, kind_of
from genre_ray.config import load_yaml_documents

ROOT = Path(__file__).parents[1]
FOLDERS = {"tune_configs": "search", "serve_configs": "service", "cluster": "cluster"}
FILES = [
    path for folder in FOLDERS for pattern in ("*.yaml", "*.yml") for path in sorted((ROOT / folder).rglob(pattern))
]
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from scalars(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner)
    else:
        yield value


@pytest.mark.parametrize("folder", ["tune_configs", "serve_configs"])
def test_the_files_that_the_readme_names_are_there(folder: str) -> None:
    names = {path.name for path in (ROOT / folder).glob("*.yaml")}
    assert {"tune_configs": {"smoke.yaml", "paper.yaml"}, "serve_configs": {"hybrid.yaml"}}[folder] <= names


@every_file
def test_the_file_is_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # relative paths in cluster files count from there
    theirs = ("still to be filled in", "is not there (value ~/")  # an account, a key file: only the user has them
    assert not [problem for problem in check(path) if not any(words in problem for words in theirs)]


@every_file
def test_a_file_is_known_by_its_content(path: Path) -> None:
    first = load_yaml_documents(path)[0]
    assert kind_of(first) == FOLDERS[path.relative_to(ROOT).parts[0]]


@every_file
def test_no_number_is_read_as_text(path: Path) -> None:
    """PyYAML reads 1e-4 as a string: write 1.0e-4."""
    for document in load_yaml_documents(path):
        for value in scalars(document):
            if isinstance(value, str) and "e-" in value:
                with pytest.raises(ValueError, match="could not convert"):
                    float(value)
