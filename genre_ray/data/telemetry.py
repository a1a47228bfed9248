"""Figures about tracks as Ray metrics, which its Prometheus endpoint exports. Knows nothing about the work itself.

Ray exports them as `ray_genre_ray_...`; the dashboard of cluster/grafana reads them there.
"""

from collections import Counter
from collections.abc import Iterable

from ray.util import metrics

from genre_ray.data.store import Entry


class WorkTelemetry:
    """Counts what becomes of tracks; `work` is what is done to them, such as Extraction."""

    def __init__(self, work: str) -> None:
        self._tags = {"work": work}
        self._tracks = metrics.Counter(
            "genre_ray_tracks", "Tracks by outcome: finished, failed, cached", tag_keys=("work", "outcome")
        )
        self._errors = metrics.Counter("genre_ray_track_errors", "Failed tracks by kind", tag_keys=("work", "kind"))

    def finished(self, entries: Iterable[Entry]) -> None:
        """Tracks of a shard were finished, with or without success."""
        kinds = Counter(entry.kind for entry in entries)
        fine = kinds.pop(None, 0)
        self._count("finished", fine)
        self._count("failed", kinds.total())
        for kind, count in kinds.items():
            self._errors.inc(count, self._tags | {"kind": str(kind)})

    def cached(self, count: int) -> None:
        """Tracks that need no work, since it was done before."""
        self._count("cached", count)

    def _count(self, outcome: str, count: int) -> None:
        if count:  # Ray refuses to add nothing
            self._tracks.inc(count, self._tags | {"outcome": outcome})
