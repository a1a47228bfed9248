"""What a recording may cost is looked at before it is spent."""

import itertools

import pytest

from genre_ray.budget import Budget
from genre_ray.errors import AudioError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second."""
    monkeypatch.setattr("genre_ray.budget.time.thread_time", itertools.count().__next__)


@pytest.mark.usefixtures("clock")
def test_each_stage_has_its_own_time() -> None:
    budget = Budget(decode_cpu_s=16.0, features_cpu_s=2.0, track="t")
    for _ in range(3):
        budget.turn_to("decode")
        budget.check()
    budget.turn_to("features")
    budget.check()
    with pytest.raises(AudioError, match=r"processor time for features, after 0 windows.*at most 2 s") as refused:
        budget.check()
    assert (refused.value.kind, refused.value.track) == ("limit", "t")


@pytest.mark.usefixtures("clock")
def test_opening_may_take_an_eighth_of_decoding() -> None:
    budget = Budget(decode_cpu_s=16.0)
    budget.check()
    budget.check()
    with pytest.raises(AudioError, match=r"processor time for opening.*at most 2 s"):
        budget.check()


def test_windows_are_refused_before_they_are_described() -> None:
    budget = Budget(max_windows=2)
    budget.expect(2)
    with pytest.raises(AudioError, match="found: 3 windows; expected: at most 2"):
        budget.expect(3)
    budget.count_window()
    budget.count_window()
    with pytest.raises(AudioError, match="more than 2 windows"):
        budget.count_window()
