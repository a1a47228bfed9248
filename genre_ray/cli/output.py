"""Where a subcommand writes: the standard output, or a file that has its name only when it is finished.

Knows nothing about what is written.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def opened(path: str | None, *, option: str = "--output") -> Iterator[TextIO]:
    """The standard output for None; otherwise a temporary file that is renamed to `path` at the end.

    ConfigError, which names the `option`, when it cannot be written.
    """
    if path is None:
        yield sys.stdout
        return
    from genre_ray.errors import ConfigError

    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        stream = temporary.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written", found=str(error), remedy=f"name another {option}") from error
    try:
        with stream:
            yield stream
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
