"""Gauges that last: Ray 2.60 exports a value once and drops it at the next scrape. Knows nothing about the values."""

import logging
import threading
import time
import weakref

import ray
from ray.util.metrics import Gauge

logger = logging.getLogger(__name__)

_AGAIN_S = 4.0  # Ray exports every ten seconds


class LastingGauge:
    """A gauge whose values are set again every few seconds, as long as it lives and Ray runs."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> None:
        self._gauge = Gauge(name, description, tag_keys=tag_keys)
        self._values: dict[tuple[tuple[str, str], ...], float] = {}
        threading.Thread(target=_repeat, args=(weakref.ref(self),), name=name, daemon=True).start()

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        """The value from now on, for these tags."""
        self._values[tuple((tags or {}).items())] = value
        self._gauge.set(value, tags or {})

    def clear(self) -> None:
        """Forget all values: they are exported no longer."""
        self._values.clear()

    def again(self) -> None:
        """Set what was set last."""
        for tags, value in list(self._values.items()):
            self._gauge.set(value, dict(tags))


def _repeat(reference: "weakref.ref[LastingGauge]") -> None:
    while True:
        time.sleep(_AGAIN_S)
        gauge = reference()
        if gauge is None:
            return
        if ray.is_initialized():
            try:
                gauge.again()
            except Exception:  # Ray is being shut down
                logger.debug("a gauge could not be set again", exc_info=True)
        del gauge
