"""Counts are gathered and handed on together; none is lost or counted twice."""

import asyncio
from typing import Any, ClassVar

import numpy as np
import pytest

from genre_ray.schema import Track
from genre_ray.serve import telemetry
from genre_ray.serve.engine import Engine
from genre_ray.serve.exchange import Request, Response
from genre_ray.serve.protocol import Options


class Recorder:
    """In place of Ray's metrics, which need a cluster to be seen."""

    calls: ClassVar[list[tuple[str, float, dict[str, str]]]] = []

    def __init__(self, name: str, description: str = "", **_: Any) -> None:
        self.name = name

    def record(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append((self.name, value, tags))

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
