"""Replicas follow a load that rises and falls, up once and down once (benchmarks/replicas.py, which draws the plot)."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(600)]

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "replicas.py"


def test_replicas_rise_once_with_the_load_and_fall_once_after_it(checkpoint: Path, tmp_path: Path) -> None:
    seen = tmp_path / "timeline.json"
    command = [sys.executable, str(BENCHMARK), "--checkpoint", str(checkpoint), "--timeline", str(seen)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(seen.read_text(encoding="utf-8"))
    counts = [replicas for _, _, replicas in measured["timeline"]]
    changes = [count for count, _ in itertools.groupby(counts)]
    top = changes.index(max(changes))
    assert changes[0] == changes[-1] == 1, done.stdout
    assert max(changes) >= 3, done.stdout
    assert changes[: top + 1] == sorted(changes[: top + 1]), f"up, and never back on the way: {done.stdout}"
    assert changes[top:] == sorted(changes[top:], reverse=True), f"down, and never up again: {done.stdout}"
    assert set(measured["counts"]) == {"200"}, "neither rise nor fall costs an answer"
