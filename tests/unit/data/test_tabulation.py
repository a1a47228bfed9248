"""A finished table is gone on with: what may be gone on another try is done again, what is unchanged is not."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genre_ray.data import execution, store, tabulation
from genre_ray.data import shards as sharding
from genre_ray.data.execution import Actors, Done
from genre_ray.data.shards import NOT_KEPT, Process
from genre_ray.data.tabulation import Tabulated, tabulate
from genre_ray.errors import AudioError
from genre_ray.schema import Track


@dataclass
class Counting:
    """Two rows a track, and a list of the tracks that were worked on; some are bad for good, some for now."""

    away: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def open(self) -> Process:
        return self._rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table:
        return self._table(track, [None], kind)

    def _rows(self, track: Track) -> Iterator[pa.Table]:
        self.calls.append(track.id)
        if track.id in self.away:
            raise OSError("the network is away")
        if track.id in self.bad:
            raise AudioError(f"{track.id}: no audio", kind="undecodable", track=track.id)
        assert track.audio is not None
        yield self._table(track, [Path(str(track.audio)).read_text(), "end"], None)

    def _table(self, track: Track, content: list[str | None], kind: str | None) -> pa.Table:
        count = len(content)
        schema = pa.schema([("track", pa.string()), ("content", pa.string()), ("error_kind", pa.string())])
        columns = {"track": [track.id] * count, "content": content, "error_kind": [kind] * count}
        return pa.Table.from_pydict(columns, schema=schema)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards one after the other, here."""

    def run(shards: Sequence[sharding.Shard], work: Any, parts: store.Store, *, actors: Any = None) -> Iterator[Done]:
        for shard in shards:
            yield Done(shard.name, sharding.complete(shard, work.open(), work, parts, run="test"))

    class Silent:
        def __init__(self, work: str) -> None: ...

        def cached(self, count: int) -> None: ...

    monkeypatch.setattr(execution, "run", run)
    monkeypatch.setattr(execution, "cpus", lambda: 2)
    monkeypatch.setattr(tabulation, "connect", contextlib.nullcontext)
    monkeypatch.setattr(tabulation, "WorkTelemetry", Silent)


@pytest.fixture
def tracks(tmp_path: Path) -> list[Track]:
    return [made(tmp_path, f"t{i:02d}") for i in range(20)]


def made(folder: Path, name: str) -> Track:
    path = folder / f"{name}.wav"
    path.write_text(name)
    return Track(id=name, audio=path)


def table_of(tracks: Sequence[Track], work: Counting, out: Path, **more: Any) -> Tabulated:
    work.calls.clear()
    facts = more.pop("facts", {"model": "1"})
    return tabulate(tracks, work, out, facts=facts, verb="testing", progress=False, **more)


def rows_of(out: Path) -> list[tuple[str, str | None, str | None]]:
    table = pq.read_table(out)
    return list(zip(*(table[name].to_pylist() for name in ("track", "content", "error_kind")), strict=True))


def rewrite(out: Path, table: pa.Table, **more: Any) -> None:
    """Written by somebody else, with the metadata as it was."""
    known = {key: value for key, value in pq.read_metadata(out).metadata.items() if key.startswith(b"genre_ray.")}
    pq.write_table(table.replace_schema_metadata(known), out, **more)


def expected(tracks: Sequence[Track]) -> list[tuple[str, str, None]]:
    return [row for track in tracks for row in ((track.id, track.id, None), (track.id, "end", None))]


def test_what_may_be_gone_on_another_try_is_done_again_and_the_rest_is_taken(
    tmp_path: Path, tracks: list[Track]
) -> None:
    out, work = tmp_path / "t.parquet", Counting(away={"t03", "t04"}, bad={"t05"})
    assert dict(table_of(tracks, work, out).failed) == {"unexpected": 2, "undecodable": 1}
    work.away.clear()
    again = table_of(tracks, work, out)
    assert (work.calls, again.reused, dict(again.failed)) == (["t03", "t04"], 18, {"undecodable": 1})
    whole = [row if row[0] != "t05" else ("t05", None, "undecodable") for row in expected(tracks)]
    assert rows_of(out) == list(dict.fromkeys(whole))
    written = out.stat().st_mtime_ns
    assert table_of(tracks, work, out).reused == 20
    assert (work.calls, out.stat().st_mtime_ns) == ([], written)
    assert not out.with_name("t.parquet.parts").exists()


@pytest.mark.parametrize("kind", sorted(NOT_KEPT))
def test_every_kind_that_is_not_kept_leaves_a_table_unfinished(
    tmp_path: Path, tracks: list[Track], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    out, work = tmp_path / "t.parquet", Counting(away={"t19"})
    with monkeypatch.context() as patched:
        patched.setattr(sharding, "UNEXPECTED", kind)
        assert dict(table_of(tracks, work, out).failed) == {kind: 1}
    work.away.clear()
    assert table_of(tracks, work, out).failed == {}
    assert work.calls == ["t19"]


def test_one_more_track_costs_one_track(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    more = [made(tmp_path, "first"), *tracks]
    assert table_of(more, work, out).reused == 20
    assert work.calls == ["first"]
    assert rows_of(out) == expected(more)


def test_a_track_less_costs_nothing_and_another_order_neither(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    less = tracks[:4:-1]
    assert table_of(less, work, out).reused == 15
    assert work.calls == []
    assert rows_of(out) == expected(less)


def test_a_changed_file_another_name_and_other_facts_are_done_again(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    Path(str(tracks[7].audio)).write_text("longer than before")
    tracks[8] = Track(id="another", audio=tracks[8].audio)
    table_of(tracks, work, out)
    assert work.calls == ["t07", "another"]
    assert ("t07", "longer than before", None) in rows_of(out)
    table_of(tracks, work, out, facts={"model": "2"})
    assert len(work.calls) == 20
    assert len(rows_of(out)) == 40


def test_again_starts_anew(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    assert table_of(tracks, work, out, resume=False).reused == 0
    assert len(work.calls) == 20
    assert rows_of(out) == expected(tracks)


def test_a_stop_in_the_middle_of_going_on_loses_nothing_and_doubles_nothing(
    tmp_path: Path, tracks: list[Track], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks[:10], work, out)
    before = rows_of(out)
    run = execution.run

    def stopped(*given: Any, **more: Any) -> Iterator[Done]:
        yield next(run(*given, **more))
        raise KeyboardInterrupt

    more = [*tracks, *(made(tmp_path, f"u{i:02d}") for i in range(20))]
    with monkeypatch.context() as patched:
        patched.setattr(execution, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            table_of(more[5:], work, out)
    assert rows_of(out) == before
    done = len(work.calls)
    assert table_of(more, work, out).reused == 10 + done
    assert len(work.calls) == 30 - done
    assert rows_of(out) == expected(more)


def test_rows_that_stand_in_several_row_groups_are_taken_whole(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    rewrite(out, pq.read_table(out), row_group_size=3)
    table_of([*tracks, made(tmp_path, "new")], work, out)
    assert work.calls == ["new"]
    assert rows_of(out) == expected([*tracks, made(tmp_path, "new")])


def test_a_table_that_somebody_took_rows_from_is_made_again(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    rewrite(out, pq.read_table(out).slice(1))
    table_of([*tracks, made(tmp_path, "new")], work, out)
    assert len(work.calls) == 21
    assert len(rows_of(out)) == 42


def test_a_table_with_columns_of_another_day_is_made_again(tmp_path: Path, tracks: list[Track]) -> None:
    out, work = tmp_path / "t.parquet", Counting()
    table_of(tracks, work, out)
    table = pq.read_table(out)
    rewrite(out, table.drop_columns(["content"]).append_column("content", table["content"]))
    table_of([*tracks, made(tmp_path, "new")], work, out)
    assert len(work.calls) == 21
    assert len(rows_of(out)) == 42


def test_shards_are_cut_for_the_actors_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for the CPUs of a cluster that has yet to grow."""
    tracks, run = [made(tmp_path, f"t{i:03d}") for i in range(160)], execution.run
    seen: list[tuple[int, int]] = []

    def counted(shards: Sequence[Any], *given: Any, **more: Any) -> Iterator[Done]:
        seen.append((len(shards), more["actors"].count))
        return run(shards, *given, **more)

    monkeypatch.setattr(execution, "cpus", lambda: 1)
    monkeypatch.setattr(execution, "run", counted)
    table_of(tracks, Counting(), tmp_path / "t.parquet", actors=lambda most: Actors(count=min(30, most)))
    assert seen == [(20, 20)]
