"""The shipped cluster files, filled in as their user would, and a folder in which what they mount exists."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genre_ray.cluster import validate

SHIPPED = Path(__file__).parents[3] / "cluster"

FILLED = {
    "sg-FILL_IN": "sg-0123456789abcdef0",
    "FILL_IN_BUCKET": "music-of-a-test",
    "FILL_IN_SUBNET": "closed",
    "FILL_IN_PROJECT": "project-of-a-test",
    "FILL_IN_ACCOUNT": "123456789012",
    "FILL_IN_HEAD": "10.0.0.1",
    "FILL_IN_WORKER_1": "10.0.0.2",
    "FILL_IN_WORKER_2": "node-2.example.org",
    "FILL_IN_USER": "music",
    "FILL_IN_IMAGE": "registry.example.org/genre-ray:0.1.0-cpu",
}


@pytest.fixture
def shipped() -> Path:
    """The folder of the shipped files."""
    return SHIPPED


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the shipped files mount, current and home at once."""
    for folder in ("genre_ray", "tune_configs", "serve_configs", ".ray", ".ssh"):
        (tmp_path / folder).mkdir()
    for file in ("pyproject.toml", "constraints.txt", "README.md", ".ray/auth_token", ".ssh/id_ed25519"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def filled() -> Callable[[str], str]:
    """The text of a shipped file with every placeholder filled in."""

    def read(name: str) -> str:
        text = (SHIPPED / name).read_text(encoding="utf-8")
        for place, value in FILLED.items():
            text = text.replace(place, value)
        return text

    return read


@pytest.fixture
def problems_of(workplace: Path) -> Callable[[str], list[str]]:
    """What `validate` says of a text, without the file's name."""

    def check(text: str) -> list[str]:
        path = workplace / "given.yaml"
        path.write_text(text, encoding="utf-8")
        return [line.removeprefix(f"{path}").lstrip(": ") for line in validate(path)]

    return check
