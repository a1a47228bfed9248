"""Progress reads well in a terminal and in a log."""

import io

import pytest

from genre_ray.progress import Progress, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rate_and_time_left_count_only_what_this_run_did() -> None:
    clock = Clock()
    progress = Progress("preparing", total=100, done=40, stream=io.StringIO(), clock=clock)
    clock.now = 1.0
    progress.advance(10)
    clock.now = 2.0
    progress.advance(10, failed=1)
    assert progress.line() == "preparing 60/100 tracks, 10/s, 4.0 s left, 1 failed"


def test_what_the_first_tracks_wait_for_is_not_expected_of_the_others() -> None:
    clock = Clock()
    progress = Progress("preparing", total=160, stream=io.StringIO(), clock=clock)
    clock.now = 75.0  # loops are compiled, the network is reached for the first time
    progress.advance(10)
    assert progress.line() == "preparing 10/160 tracks, 0.1/s, 1 min 15 s"
    clock.now = 77.0
    progress.advance(20)
    assert progress.line() == "preparing 30/160 tracks, 0.4/s, 13 s left"


def test_nothing_is_divided_by_zero_before_the_first_track() -> None:
    assert Progress("preparing", total=3, stream=io.StringIO(), clock=Clock()).line() == "preparing 0/3 tracks, 0.0 s"


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("preparing", total=60, stream=stream, clock=clock) as progress:
        for _ in range(60):
            clock.now += 1.0
            progress.advance(1)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["5/60", "20/60", "35/60", "50/60", "60/60"]
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_one_line_that_is_written_over_and_ended() -> None:
    clock, stream = Clock(), Terminal()
    with Progress("preparing", total=3, stream=stream, clock=clock) as progress:
        for _ in range(3):
            clock.now += 0.5
            progress.advance(1)
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.split("\r")[-1].rstrip() == "preparing 3/3 tracks, 2.0/s, 1.5 s"


def test_silence_on_request() -> None:
    stream = io.StringIO()
    with Progress("preparing", total=1, shown=False, stream=stream) as progress:
        progress.advance(1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
