"""Counts are gathered and handed on together; none is lost or counted twice."""

import asyncio
from typing import Any, ClassVar

import numpy as np
import pytest

from genre_ray.schema import Track
from genre_ray.serve import application, telemetry
from genre_ray.serve.engine import Engine
from genre_ray.serve.exchange import Request, Response
from genre_ray.serve.local import in_place
from genre_ray.serve.protocol import Inquiry, Options


class Recorder:
    """In place of Ray's metrics, which need a cluster to be seen."""

    calls: ClassVar[list[tuple[str, float, dict[str, str]]]] = []

    def __init__(self, name: str, description: str = "", **_: Any) -> None:
        self.name = name

    def record(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.calls.append((self.name, value, tags or {}))

    inc = observe = set = record


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    for name in ("Counter", "Histogram", "LastingGauge"):
        monkeypatch.setattr(telemetry, name, Recorder)
    monkeypatch.setattr(telemetry, "_FLUSH_S", 0.01)
    monkeypatch.setattr(Recorder, "calls", [])
    return Recorder.calls


def test_counts_are_handed_on_together(
    calls: list[tuple[str, float, dict[str, str]]], engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    track = Track(id="t", figure=figure, features=np.array(list(features.values())))
    answered = engine.answer(track, Options())

    asked = Request(method="POST", path="/v1/predict", query="", headers={}, id="r")

    async def requests() -> None:
        told = telemetry.RayTelemetry(engine)
        for _ in range(3):
            told.answered(answered)
            told.finished(asked, "/v1/predict", Response(200, b""), 0.01)
        told.finished(asked, "/v1/predict", Response(429, b""), 0.001)
        assert not [call for call in calls if call[0] == "genre_ray_requests"]
        await asyncio.sleep(0.05)
        told.finished(asked, "/v1/predict", Response(200, b""), 0.01)
        await asyncio.sleep(0.05)

    asyncio.run(requests())
    counted = [(value, tags["status"]) for name, value, tags in calls if name == "genre_ray_requests"]
    assert counted == [(3, "200"), (1, "429"), (1, "200")]
    assert [value for name, value, _ in calls if name == "genre_ray_answers"] == [3]
    assert len([name for name, _, _ in calls if name == "genre_ray_request_seconds"]) == 5


def test_a_recording_is_counted_from_its_thread(
    calls: list[tuple[str, float, dict[str, str]]], engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    answered = engine.answer(Track(id="t", figure=figure, features=np.array(list(features.values()))), Options())

    async def requests() -> None:
        told = telemetry.RayTelemetry(engine)
        await asyncio.to_thread(told.answered, answered)

    asyncio.run(requests())
    assert [value for name, value, _ in calls if name == "genre_ray_answers"] == [1]


def test_the_size_of_a_batch_is_told_on_a_processor_and_for_a_gpu(
    calls: list[tuple[str, float, dict[str, str]]], engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    """By the deployment itself, which Serve would have made."""
    track = Track(id="t", figure=figure, features=np.array(list(features.values())))
    made = application.Figures.func_or_class.__new__(application.Figures.func_or_class)  # type: ignore[attr-defined]
    made._engine, made._batch_sizes = engine, telemetry.BatchSizes()
    made._together = in_place(engine, made._batch_sizes.add)

    async def requests() -> None:
        made._on_processor = True
        await asyncio.gather(*(made._by_the_first(Inquiry(track=track, options=Options())) for _ in range(3)))
        made._on_processor = False
        await made._forward.__wrapped__(made, [("t", engine.clips(track))] * 2)

    asyncio.run(requests())
    sizes = [value for name, value, _ in calls if name == "genre_ray_batch_size"]
    assert sizes.pop() == 2
    assert sum(sizes) == 3
