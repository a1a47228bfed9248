"""What a run says on standard error: lines for people, or a JSON object a line. Knows nothing about runs."""

import io
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Form = Literal["text", "json"]


class JsonLines(io.TextIOBase):
    """A stream that turns each line written to it into an object with time, level, logger and message."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._begun = ""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Text; a line is passed on when it is complete."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip():
                self.event(line.strip())
        return len(text)

    def flush(self) -> None:
        """Complete lines are out already."""
        self._target.flush()

    def event(self, message: str, *, level: str = "info", logger: str = "genre_ray", **fields: Any) -> None:
        """One object; `fields` stand beside the message, so that nobody has to take it apart."""
        moment = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
        known = {name: value for name, value in fields.items() if value is not None}
        line = {"time": moment, "level": level, "logger": logger, "message": message, **known}
        self._target.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")
        self._target.flush()


class _Handler(logging.Handler):
    """Log records as events."""

    def __init__(self, stream: JsonLines) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        self._stream.event(record.getMessage(), level=record.levelname.lower(), logger=record.name, trace=trace)


def say(stream: TextIO, text: str, *, level: str = "info", **fields: Any) -> None:
    """A line to `stream`; where that takes JSON, with its level and fields."""
    if isinstance(stream, JsonLines):
        stream.event(text.strip(), level=level, **fields)
    else:
        print(text, file=stream, flush=True)


@contextmanager
def speaking(form: Form, *, debug: bool = False) -> Iterator[None]:
    """Set logging up; with `json`, all that goes to standard error inside the block is JSON, a line an object."""
    level = logging.INFO if debug else logging.WARNING
    if form == "text":
        logging.basicConfig(level=level, format="%(name)s: %(message)s")
        yield
        return
    before = sys.stderr
    stream = JsonLines(before)
    logging.basicConfig(level=level, handlers=[_Handler(stream)], force=True)
    sys.stderr = stream
    try:
        yield
    finally:
        sys.stderr = before
