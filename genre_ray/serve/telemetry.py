"""Figures about requests as Ray metrics, which its Prometheus endpoint exports. Knows nothing about HTTP."""

import asyncio
from collections import Counter as Tally

from ray.util.metrics import Counter, Histogram

from genre_ray.gauges import LastingGauge
from genre_ray.serve.accesslog import AccessLog
from genre_ray.serve.drift import Drift
from genre_ray.serve.engine import Answered, Engine
from genre_ray.serve.exchange import Request, Response

_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
_SIZES = [float(2**power) for power in range(11)]
_DRIFT_EVERY = 64
_FLUSH_S = 1.0


class BatchSizes:
    """How many figures are answered together, in place on a processor or gathered for a GPU.

    Ray's own `ray_serve_actual_batch_size` knows of those that `serve.batch` gathers alone.
    """

    def __init__(self) -> None:
        self._sizes = Histogram("genre_ray_batch_size", "Figures answered together", boundaries=_SIZES)

    def add(self, size: int) -> None:
        """So many are answered in one forward pass."""
        self._sizes.observe(size)


class RayTelemetry:
    """A Telemetry of `web` over `ray.util.metrics`; names begin with `genre_ray_`.

    Counts are gathered and handed on once a second, since Ray exports them no oftener and each call has its price.
    """

    def __init__(self, engine: Engine, log: AccessLog | None = None) -> None:
        self._engine = engine
        self._log = log
        self._drift = Drift.of(engine)
        self._requests = Counter("genre_ray_requests", "Requests by path and status", tag_keys=("path", "status"))
        self._seconds = Histogram(
            "genre_ray_request_seconds", "From headers to answer", boundaries=_SECONDS, tag_keys=("path",)
        )
        self._stages = Histogram(
            "genre_ray_stage_seconds",
            "Queue, decode, features, forward, explain",
            boundaries=_SECONDS,
            tag_keys=("stage",),
        )
        self._genres = Counter("genre_ray_answers", "Answers by genre", tag_keys=("genre", "version"))
        self._unsure = Counter("genre_ray_unsure_answers", "Answers marked unsure", tag_keys=("version",))
        self._stability = LastingGauge(
            "genre_ray_population_stability",
            "Population stability index against the training part; above 0.25 the inputs have shifted",
            tag_keys=("of", "version"),
        )
        self._tally: Tally[tuple[Counter, tuple[tuple[str, str], ...]]] = Tally()

    def finished(self, request: Request, route: str, response: Response, seconds: float) -> None:
        """A request was answered or refused."""
        self._count(self._requests, ("path", route), ("status", str(response.status)))
        self._seconds.observe(seconds, {"path": route})
        if self._log is not None:
            self._log.add(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=response.status,
                ms=round(seconds * 1000, 2),
                bytes=request.received,
                key=request.key,
                version=response.headers.get("x-model-version"),
            )

    def answered(self, answered: Answered) -> None:
        """A track was answered: stages, genre, and every so often the drift.

        Of a candidate's answers there is no drift: they are a share of the same requests.
        """
        for stage, seconds in answered.stages.items():
            self._stages.observe(seconds, {"stage": stage})
        prediction, version = answered.prediction, answered.version
        self._count(self._genres, ("genre", prediction.label), ("version", version))
        if prediction.unsure:
            self._count(self._unsure, ("version", version))
        if version != self._engine.version:
            return
        if self._drift.version != version:
            self._drift = Drift.of(self._engine)
        self._drift.add(answered)
        if self._drift.seen % _DRIFT_EVERY == 0:
            self._stability.clear()  # of other columns, or of the model before
            for of, value in self._drift.indices().items():
                self._stability.set(value, {"of": of, "version": version})

    def _count(self, counter: Counter, *tags: tuple[str, str]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # recordings are answered in a thread of their own; there are few of them
            counter.inc(1, dict(tags))
            return
        if not self._tally:
            loop.call_later(_FLUSH_S, self._flush)
        self._tally[counter, tags] += 1

    def _flush(self) -> None:
        for (counter, tags), number in self._tally.items():
            counter.inc(number, dict(tags))
        self._tally.clear()
