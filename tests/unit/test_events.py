"""Standard error as lines for people, or as JSON for machines."""

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from genre_ray.events import JsonLines, say
from genre_ray.progress import Progress


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_is_written_piece_by_piece_becomes_an_object_a_line() -> None:
    target = io.StringIO()
    stream = JsonLines(target)
    print("one", "and a half", file=stream)
    stream.write("tw")
    stream.write("o\n\nthree")
    first, second = objects(target)
    assert (first["message"], second["message"]) == ("one and a half", "two")
    assert set(first) == {"time", "level", "logger", "message"}


def test_fields_stand_beside_the_message_and_people_do_not_see_them() -> None:
    target, plain = io.StringIO(), io.StringIO()
    say(JsonLines(target), "trial 3 done", level="warning", trial=3, score=0.5, epoch=None)
    say(plain, "trial 3 done", level="warning", trial=3, score=0.5)
    (line,) = objects(target)
    assert {name: line[name] for name in ("level", "trial", "score")} == {"level": "warning", "trial": 3, "score": 0.5}
    assert "epoch" not in line
    assert plain.getvalue() == "trial 3 done\n"


def test_progress_of_a_preparation_says_its_numbers() -> None:
    target = io.StringIO()
    with Progress("preparing", total=4, stream=JsonLines(target)) as progress:  # type: ignore[arg-type]
        progress.advance(4, failed=1)
    line = objects(target)[-1]
    assert {name: line[name] for name in ("event", "done", "total", "failed")} == {
        "event": "preparing", "done": 4, "total": 4, "failed": 1,
    }  # fmt: skip


@pytest.mark.parametrize("command", [["tune", "--config", "absent.yaml"], ["data", "absent"]])
def test_an_error_is_an_object_with_its_level(command: list[str]) -> None:
    program = [sys.executable, "-m", "genre_ray", *command, "--log-format", "json"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines[-1]["level"] == "error"
    assert "absent" in lines[-1]["message"]


def test_records_of_logging_are_objects_with_their_trace() -> None:
    program = (
        "import logging\nfrom genre_ray.events import speaking\nwith speaking('json'):\n"
        "    try:\n        1 / 0\n    except ZeroDivisionError:\n        logging.getLogger('a.b').exception('no')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = (json.loads(line) for line in done.stderr.splitlines())
    assert (line["level"], line["logger"], line["message"]) == (logging.getLevelName(40).lower(), "a.b", "no")
    assert "ZeroDivisionError" in line["trace"]
