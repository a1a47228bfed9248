"""Figures about a search as Ray metrics, which its Prometheus endpoint exports. Knows nothing about trials."""

from ray.util.metrics import Counter

from genre_ray.gauges import LastingGauge


class SearchTelemetry:
    """Trials by state and the best score; Ray exports them as `ray_genre_ray_...`."""

    def __init__(self, metric: str) -> None:
        self._metric = {"metric": metric}
        self._running = LastingGauge("genre_ray_trials_running", "Trials that run now")
        self._trials = Counter(
            "genre_ray_trials",
            "Trials by outcome: done, stopped early, diverged, failed, recovered",
            tag_keys=("outcome",),
        )
        self._best = LastingGauge("genre_ray_best_score", "Best validation score of the search", tag_keys=("metric",))

    def running(self, count: int) -> None:
        """So many trials run now."""
        self._running.set(count)

    def ended(self, outcome: str, best: float | None) -> None:
        """A trial ended or was started again; `best` is the best score so far."""
        self._trials.inc(1, {"outcome": outcome})
        if best is not None:
            self._best.set(best, self._metric)
