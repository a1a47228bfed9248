"""The folder of results where every machine reaches it: a working copy here, kept equal to a URI such as s3://.

Optuna's journal needs a real file system, object storage is none, so the driver works on a local copy and uploads it
when a trial starts or ends. States of trials go the other way: workers write them to the URI, the driver fetches them.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pyarrow import fs
from ray.tune import Callback
from ray.tune.experiment import Trial

from genre_ray.errors import RunError
from genre_ray.events import say
from genre_ray.source import is_uri, local_path
from genre_ray.tune.study import JOURNAL

TRIALS = "trials"
"""Folder of the trials' states and logs; on a cluster the workers write it, not the driver."""

logger = logging.getLogger(__name__)
T = TypeVar("T")

_PATIENCE_S = 600.0
"""How long storage may be away before what needs it gives up."""

_REMEDY = "check the URI, your credentials and your rights"
_NOT_MIRRORED = {"driver.lock", "study.journal.lock"}


@dataclass(frozen=True, slots=True)
class Mirror:
    """`root` is where the driver works; `uri` what it is kept equal to, None when `root` itself is meant."""

    root: Path
    uri: str | None
    _sent: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, output: str | Path) -> "Mirror":
        """For a path that path; for a URI a folder of the user's cache that belongs to it alone."""
        if not is_uri(str(output)):
            return cls(Path(output), None)
        uri = str(output).rstrip("/")
        return cls(local_cache() / "runs" / hashlib.sha256(uri.encode()).hexdigest()[:16], uri)

    def pull(self) -> None:
        """Bring the searches at the URI here, without the states of trials. RunError when it cannot be reached.

        A search whose journal here is at least as long is kept: this machine drove it, its upload is older.
        """
        if self.uri is None:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".pull-") as fresh:
            _download(self.uri, Path(fresh), skip=TRIALS)
            for remote in Path(fresh).iterdir():
                here = self.root / remote.name
                if _journal_size(here) < _journal_size(remote) or not here.exists():
                    shutil.rmtree(here, ignore_errors=True)
                    remote.rename(here)

    def push(self, folder: Path) -> None:
        """Upload what has changed in a search's folder, without the states of trials."""
        if self.uri is None:
            return
        system, base = _open(self.uri)
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(self.root)
            if not path.is_file() or TRIALS in place.parts or path.name in _NOT_MIRRORED:
                continue
            status = path.stat()
            now = (status.st_mtime_ns, status.st_size)
            if self._sent.get(str(place)) != now:
                _write(system, f"{base}/{place.as_posix()}", path.read_bytes())
                self._sent[str(place)] = now

    def storage(self, folder: Path) -> str:
        """Where Tune writes a search's trials, as a path or URI that every machine can reach."""
        return str(folder.resolve()) if self.uri is None else f"{self.uri}/{folder.name}"

    def pull_trials(self, folder: Path) -> None:
        """Fetch the states of trials that workers wrote to the URI."""
        if self.uri is not None:
            _download(f"{self.uri}/{folder.name}/{TRIALS}", folder / TRIALS)


class PushTrials(Callback):
    """Uploads the study whenever a trial starts or ends, so that a lost driver costs no finished trial, and no number
    is given twice: under it lie states.

    While the storage is away the search goes on; what was not uploaded then is with the next trial.
    """

    def __init__(self, mirror: Mirror, folder: Path, stream: TextIO) -> None:
        self._mirror, self._folder, self._stream = mirror, folder, stream
        self._away = False

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial begins, and will soon write states under its number."""
        self._push()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended by itself or was stopped."""
        self._push()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed for good."""
        self._push()

    def _push(self) -> None:
        try:
            self._mirror.push(self._folder)
        except RunError as error:
            if not self._away:
                self._say(f"cannot be reached, the search goes on and uploads later: {error.found}")
            self._away = True
        else:
            if self._away:
                self._say("can be reached again, everything is uploaded")
            self._away = False

    def _say(self, what: str) -> None:
        say(self._stream, f"{self._mirror.uri} {what}", level="warning", event="storage")


def local_cache() -> Path:
    """The user's cache folder on this machine: GENRE_RAY_CACHE, or where that is unset or a URI the usual place."""
    given = os.environ.get("GENRE_RAY_CACHE")
    return (local_path(given) if given else None) or Path.home() / ".cache" / "genre_ray"


def fetched(place: str) -> Path:
    """A folder at a path or URI as a local one; an empty temporary folder when there is nothing at the URI."""
    if not is_uri(place):
        return Path(place)
    local = Path(tempfile.mkdtemp(prefix="genre_ray-trial-"))
    patiently(lambda: _download(place, local))
    return local


def patiently(call: Callable[[], T], *, patience_s: float = _PATIENCE_S) -> T:
    """What `call` returns; while storage is away it is called again, for `patience_s`, and then its RunError raised."""
    deadline = time.monotonic() + patience_s
    pause_s = 1.0
    while True:
        try:
            return call()
        except RunError as error:
            if time.monotonic() + pause_s > deadline:
                raise
            logger.warning("%s; trying again for %.0f s", error, deadline - time.monotonic())
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)


def _journal_size(folder: Path) -> int:
    journal = folder / JOURNAL
    return journal.stat().st_size if journal.exists() else 0


def _open(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        system, base = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError) as error:
        raise RunError(f"{uri} cannot be opened", found=str(error), remedy=_REMEDY) from error
    return system, base.rstrip("/")


def _download(uri: str, target: Path, *, skip: str | None = None) -> None:
    system, base = _open(uri)
    try:
        found = system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        for info in found:
            place = Path(info.path.removeprefix(base).lstrip("/"))
            if info.type != fs.FileType.File or skip in place.parts:
                continue
            local = target / place
            local.parent.mkdir(parents=True, exist_ok=True)
            with system.open_input_stream(info.path) as source:
                local.write_bytes(source.read())
    except OSError as error:
        raise RunError(f"{uri} cannot be read", found=str(error), remedy=_REMEDY) from error


def _write(system: fs.FileSystem, place: str, content: bytes) -> None:
    try:
        if isinstance(system, fs.LocalFileSystem):
            system.create_dir(str(Path(place).parent), recursive=True)
        with system.open_output_stream(place) as target:
            target.write(content)
    except OSError as error:
        raise RunError(f"{place} cannot be written", found=str(error), remedy=_REMEDY) from error
