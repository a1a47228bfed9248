"""Every command of docs/curl.md, run as it stands there against a running service."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

pytestmark = [pytest.mark.slow]

PAGE = (Path(__file__).parents[3] / "docs/curl.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line.strip()
]


@pytest.fixture
def folder(tmp_path: Path, attacks: Any) -> Path:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    noise, _ = soundfile.read(io.BytesIO(attacks.sound(seconds=12)))
    soundfile.write(tmp_path / "song.mp3", noise, 22050, format="MP3")
    (tmp_path / "figure.png").write_bytes(attacks.figure())
    (tmp_path / "features.json").write_text(json.dumps(attacks.ROW))
    question = {"figure": base64.b64encode(attacks.figure()).decode(), "features": attacks.ROW}
    (tmp_path / "question.json").write_text(json.dumps(question))
    (tmp_path / "batch.json").write_text(json.dumps({"items": [question | {"id": "a"}, {"id": "b"}]}))
    return tmp_path


def test_every_command_of_the_page_is_answered(running: Any, folder: Path) -> None:
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        command = command.replace("http://127.0.0.1:8000", running.url)
        done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        answer = json.loads(done.stdout)
        assert "status" not in answer, (command, answer)
        if "/v1/predict/audio" in command or command.endswith("/v1/predict"):
            assert answer["model"]["version"]
            assert answer["request_id"]
        if "explain" in command:
            assert {"explanation", "over_time"} <= set(answer)
        if "batch" in command:
            assert (answer["answered"], answer["failed"]) == (1, 1)
        if "audio-classification" in command:
            assert set(answer[0]) == {"label", "score"}
