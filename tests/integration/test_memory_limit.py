"""Preparation, prediction and training under a limit that the kernel enforces on all processes together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory_limit.py"


def _can_limit() -> bool:
    code = f"import sys; sys.path.insert(0, {str(BENCHMARK.parent)!r}); import memory_limit as m; print(m.supported())"
    return "True" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_corpus_is_prepared_predicted_and_trained_on_within_a_limit(tmp_path: Path) -> None:
    if not _can_limit():
        pytest.skip("no right to make a memory control group here")
    command = [sys.executable, str(BENCHMARK), "--tracks", "3000", "--limit", "2.5", "--folder", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1000, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    stages = {line["stage"]: line for line in map(json.loads, (x for x in ended.stdout.splitlines() if x[:1] == "{"))}
    assert stages["prepare"]["clips"] == stages["predict"]["rows"] == 3000
    assert stages["predict"]["failed"] == 0
    assert stages["train"]["epochs"] == 1
    assert "0 processes killed" in ended.stdout
