"""Gauges that are set again, without Ray."""

import gc
import time

import pytest

from genre_ray import gauges


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, dict[str, str]]]:
    found: list[tuple[float, dict[str, str]]] = []

    class Recorder:
        def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None: ...

        def set(self, value: float, tags: dict[str, str]) -> None:
            found.append((value, tags))

    monkeypatch.setattr(gauges, "Gauge", Recorder)
    monkeypatch.setattr(gauges, "_AGAIN_S", 0.01)
    monkeypatch.setattr(gauges.ray, "is_initialized", lambda: True)
    return found


def until(true) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_last_value_of_each_tag_is_set_again_until_it_is_cleared(calls) -> None:
    gauge = gauges.LastingGauge("a", "b", ("of",))
    gauge.set(1.0, {"of": "x"})
    gauge.set(2.0, {"of": "x"})
    gauge.set(3.0, {"of": "y"})
    until(lambda: calls.count((2.0, {"of": "x"})) > 2 and calls.count((3.0, {"of": "y"})) > 2)
    assert calls.count((1.0, {"of": "x"})) <= 2, "an old value is not set again"
    gauge.clear()
    time.sleep(0.05)
    seen = len(calls)
    time.sleep(0.1)
    assert len(calls) == seen


def test_a_gauge_that_is_gone_is_silent(calls) -> None:
    gauge = gauges.LastingGauge("a", "b")
    gauge.set(1.0)
    until(lambda: len(calls) > 1)
    del gauge
    gc.collect()
    time.sleep(0.05)
    seen = len(calls)
    time.sleep(0.1)
    assert len(calls) == seen
