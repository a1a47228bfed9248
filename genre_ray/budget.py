"""What one recording may cost: windows, and processor time of the thread at work on it. Knows nothing about sound."""

import math
import time
from typing import Literal

from genre_ray.errors import AudioError

Stage = Literal["open", "decode", "features"]

_OPEN = 0.125
"""Part of the time for decoding that looking for the sound may take besides; it takes a few milliseconds."""

_NAMES = {"open": "opening", "decode": "decoding", "features": "features"}
_REMEDIES = {
    "open": "convert it to wav, flac, ogg or mp3",
    "decode": "send it with one or two channels, at 48 kHz or less, in packets of more than a few samples",
    "features": "ask for longer windows (clip_s), or send less of it",
}


class Budget:
    """Counts what a recording takes, stage by stage, and raises AudioError "limit" where that is too much.

    Half a megabyte can hold a thousand million samples, or a packet for each sample; ten minutes are 600 windows of a
    second. So whoever decodes asks at each packet, and whoever describes asks before each window. Without arguments
    there is no limit.
    """

    def __init__(
        self,
        *,
        decode_cpu_s: float = math.inf,
        features_cpu_s: float = math.inf,
        max_windows: float = math.inf,
        track: str | None = None,
    ) -> None:
        self._limits = {"open": _OPEN * decode_cpu_s, "decode": decode_cpu_s, "features": features_cpu_s}
        self._max_windows, self._windows = max_windows, 0
        self._track = track
        self._spent = dict.fromkeys(self._limits, 0.0)
        self._stage: Stage = "open"
        self._since = time.thread_time()

    def check(self) -> None:
        """Raise if the stage at hand has had its processor time."""
        stage, limit = self._stage, self._limits[self._stage]
        seconds = self._spent[stage] + time.thread_time() - self._since
        if seconds > limit:
            found = f"{seconds:.1f} s of processor time for {_NAMES[stage]}, after {self._windows} windows"
            raise self._too_dear(found, f"at most {limit:g} s", _REMEDIES[stage])

    def turn_to(self, stage: Stage) -> None:
        """From now on time goes to `stage`, which must have some left."""
        now = time.thread_time()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now
        self.check()

    def expect(self, windows: int) -> None:
        """Raise if a header promises more windows than are allowed: nothing has been decoded yet."""
        if windows > self._max_windows:
            raise self._too_many(f"{windows} windows")

    def count_window(self) -> None:
        """Raise if the window at hand is one too many: nothing has been made of it yet."""
        if self._windows >= self._max_windows:
            raise self._too_many(f"more than {self._windows} windows")
        self._windows += 1

    def _too_many(self, found: str) -> AudioError:
        return self._too_dear(found, f"at most {self._max_windows:g}", _REMEDIES["features"])

    def _too_dear(self, found: str, expected: str, remedy: str) -> AudioError:
        return AudioError(
            "the recording takes too long to answer",
            kind="limit",
            track=self._track,
            found=found,
            expected=expected,
            remedy=remedy,
        )
