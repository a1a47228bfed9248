"""The ingress while no replica for recordings is warm yet: it says so, and soon."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from genre_ray.serve import application
from genre_ray.serve.problems import Refusal

CLASS: Any = application.Figures.func_or_class  # type: ignore[attr-defined]


class Recordings:
    """What the handle of the other deployment does: it waits for a replica, and may lose one on the way."""

    def __init__(self) -> None:
        self.warm = asyncio.Event()
        self.asked = 0
        self.state = SimpleNamespace(remote=self._state)
        self.answer = SimpleNamespace(remote=self._answer)

    async def _state(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            raise RayError("the replica was lost while it was made")
        await self.warm.wait()
        return {}

    async def _answer(self, inquiry: Any) -> dict[str, Any]:
        await self.warm.wait()
        return {"label": "jazz"}


def figures(recordings: Recordings) -> Any:
    made = CLASS.__new__(CLASS)
    made._recordings, made._recordings_warm, made._hearing = recordings, asyncio.Event(), None
    return made


def test_the_service_is_ready_once_recordings_are_and_refuses_them_soon_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(application, "_WARM_WAIT_S", 0.05)
    inquiry = SimpleNamespace(track=SimpleNamespace(audio=b"sound"))

    async def run() -> None:
        recordings = Recordings()
        made = figures(recordings)
        assert not made.ready
        with pytest.raises(Refusal) as refused:
            await made.answer_audio(inquiry, "r")
        assert refused.value.status == 503
        recordings.warm.set()
        async with asyncio.timeout(10):
            while not made.ready:
                await asyncio.sleep(0.01)
        assert recordings.asked == 2, "asked again after the loss, and by one task"
        assert await made.answer_audio(inquiry, "r") == {"label": "jazz"}

    asyncio.run(run())
