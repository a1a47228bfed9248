"""Whatever a track does, its shard is finished, and says what happened."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from genre_ray.data import shards
from genre_ray.data.shards import CRASHED, UNEXPECTED, Process, Shard, Trail, complete, cut, shard_size
from genre_ray.data.store import Store
from genre_ray.errors import AudioError, RunError
from genre_ray.schema import Track


class Letters:
    """Two rows a track, in two tables; tracks named after what goes wrong with them."""

    def __init__(self, stand_in: bool = False) -> None:
        self.stand_in = stand_in
        self.seen: list[str] = []

    def open(self) -> Process:
        return self.rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        return pa.table({"track": [track.id], "half": [-1]}) if self.stand_in else None

    def rows(self, track: Track) -> Iterator[pa.Table]:
        self.seen.append(track.id)
        yield pa.table({"track": [track.id], "half": [0]})
        if track.id == "bad":
            raise AudioError("bad: no sound", kind="silent", track="bad")
        if track.id == "bug":
            raise ZeroDivisionError("division by zero")
        yield pa.table({"track": [track.id], "half": [1]})


def shard(*names: str) -> Shard:
    return cut([(Track(id=name), f"key-{name}") for name in names], size=100)[0]


def test_a_bad_track_costs_its_own_rows_alone(tmp_path: Path) -> None:
    work, store = Letters(), Store(str(tmp_path))
    part = shard("a", "bad", "b", "bug", "c")
    entries = complete(part, work.rows, work, store, run="t1")
    assert [(entry.track, entry.kind, entry.rows) for entry in entries] == [
        ("a", None, 2),
        ("bad", "silent", 0),
        ("b", None, 2),
        ("bug", UNEXPECTED, 0),
        ("c", None, 2),
    ]
    assert entries[3].message == "ZeroDivisionError: division by zero"
    assert store.entries(part.name) == entries
    table = pa.concat_tables(store.groups(part.name))
    for entry in entries:
        mine = table.slice(entry.first, entry.rows)
        assert mine["track"].to_pylist() == [entry.track] * entry.rows


def test_a_stand_in_row_belongs_to_the_track_that_failed(tmp_path: Path) -> None:
    work, store = Letters(stand_in=True), Store(str(tmp_path))
    part = shard("bad", "a")
    bad, good = complete(part, work.rows, work, store, run="t2")
    table = pa.concat_tables(store.groups(part.name))
    assert table.slice(bad.first, bad.rows).to_pylist() == [{"track": "bad", "half": -1}]
    assert table.slice(good.first, good.rows)["half"].to_pylist() == [0, 1]


def test_a_shard_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    work, store = Letters(), Store(str(tmp_path))
    first = complete(shard("a", "b"), work.rows, work, store, run="t3")
    assert complete(shard("a", "b"), work.rows, work, store, run="t3") == first
    assert work.seen == ["a", "b"]


def test_a_shard_with_errors_that_may_be_gone_is_made_again(tmp_path: Path) -> None:
    work, store = Letters(), Store(str(tmp_path))
    part = shard("a", "bug")
    assert [entry.kind for entry in complete(part, work.rows, work, store, run="t3")] == [None, UNEXPECTED]

    def mended(track: Track) -> Iterator[pa.Table]:
        yield pa.table({"track": [track.id], "half": [0]})

    assert [entry.kind for entry in complete(part, mended, work, store, run="t3b")] == [None, None]
    assert [entry.kind for entry in store.entries(part.name) or ()] == [None, None]


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


def test_a_track_that_brings_its_worker_down_twice_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.tempfile, "gettempdir", lambda: str(tmp_path / "node"))
    monkeypatch.setattr(Trail, "__exit__", lambda *_: None)  # a process that is killed clears nothing away
    work, store = Letters(), Store(str(tmp_path / "store"))

    def deadly(track: Track) -> Iterator[pa.Table]:
        if track.id == "killer":
            raise Killed
        yield from work.rows(track)

    part = shard("a", "killer", "b")
    for _ in range(2):
        with pytest.raises(Killed):
            complete(part, deadly, work, store, run="t4")
    entries = complete(part, deadly, work, store, run="t4")
    assert [(entry.track, entry.kind) for entry in entries] == [("a", None), ("killer", CRASHED), ("b", None)]


def test_a_run_that_was_stopped_says_nothing_against_its_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.tempfile, "gettempdir", lambda: str(tmp_path))
    for _ in range(5):
        trail = Trail("stopped", "one.parquet").__enter__()
        trail.enter("slow")
    assert Trail("stopped", "one.parquet").__enter__().is_deadly("slow")
    assert not Trail("another", "one.parquet").__enter__().is_deadly("slow")
    shards.forget("stopped")
    assert not shards.trail_folder("stopped").exists()


def test_storage_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(shards.time, "sleep", pauses.append)
    work, store = Letters(), Store(str(tmp_path))
    away = iter([OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "Input/output error")])
    finish = shards.ShardWriter.finish

    def unreliable(writer: shards.ShardWriter, entries: list[shards.Entry]) -> None:
        if (error := next(away, None)) is not None:
            raise error
        finish(writer, entries)

    monkeypatch.setattr(shards.ShardWriter, "finish", unreliable)
    assert len(complete(shard("a"), work.rows, work, store, run="t5")) == 1
    assert pauses == [1.0, 5.0]
    assert len(store.names()) == 1


def test_a_full_disk_ends_the_run_with_a_remedy_and_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: shards.ShardWriter, entries: list[shards.Entry]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards.ShardWriter, "finish", full)
    work = Letters()
    with pytest.raises(RunError, match="make room, then start again: what is finished is kept"):
        complete(shard("a"), work.rows, work, Store(str(tmp_path)), run="t6")
    assert list(tmp_path.iterdir()) == []


def test_cutting_keeps_every_track_once_in_order_and_evenly() -> None:
    pairs = [(Track(id=str(i)), "k") for i in range(999)]
    pieces = cut(pairs, size=63)
    assert [track.id for piece in pieces for track in piece.tracks] == [str(i) for i in range(999)]
    assert {len(piece.tracks) for piece in pieces} == {62, 63}
    assert [piece.name for piece in cut(pairs, size=63)] == [piece.name for piece in pieces]
    assert cut([], size=3) == []


def test_shards_are_named_by_what_they_are_made_from() -> None:
    track = Track(id="a")
    assert cut([(track, "k1")], size=1)[0].name != cut([(track, "k2")], size=1)[0].name


@pytest.mark.parametrize(("tracks", "cpus", "size"), [(999, 2, 63), (10, 2, 8), (1_000_000, 2, 256), (1000, 400, 8)])
def test_shards_are_neither_tiny_nor_huge(tracks: int, cpus: int, size: int) -> None:
    assert shard_size(tracks, cpus) == size
