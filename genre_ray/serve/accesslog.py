"""The access log: a line of JSON for each request, written at most a second late. Knows nothing about HTTP or Ray.

What is logged: when, which method and path, what came of it, how long it took, how many bytes came, whose key it was (a
digest's beginning). What is not: bodies, names of files, queries, headers, addresses.
"""

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)

_LATE_S = 1.0
_LARGEST = 64 * 1024**2
_WAITING = 1000


class AccessLog:
    """Lines to `path`; when it is full (64 MB), it becomes `path`.1 and a new one begins."""

    def __init__(self, path: Path, *, largest: int = _LARGEST) -> None:
        self.path = path
        self._largest = largest
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def add(self, **members: Any) -> None:
        """One line; `time` is added. Values are plain; text is cut to 200 characters."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line |= {name: value[:200] if isinstance(value, str) else value for name, value in members.items()}
        with self._lock:
            self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            if self._timer is None:
                self._timer = threading.Timer(_LATE_S, self.flush)
                self._timer.daemon = True
                self._timer.start()
            full = len(self._lines) >= _WAITING
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what waits. A disk that is full loses lines and no request."""
        with self._lock:
            lines, self._lines, timer, self._timer = self._lines, [], self._timer, None
            if timer is not None:
                timer.cancel()
            try:
                if self.path.exists() and self.path.stat().st_size > self._largest:
                    self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                with self.path.open("ab") as file:
                    file.write(b"".join(lines))
            except OSError as error:
                logger.warning("%d lines of the access log are lost: %s", len(lines), error)
