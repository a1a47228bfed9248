"""Shards are whole or not there, and say what they hold."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from genre_ray.data.store import Entry, Store, under
from genre_ray.errors import RunError

ENTRIES = (Entry("a", "k1", 0, 2), Entry("b", "k2", 2, 0, "silent", "b: no sound; found: zeros"))


def write(store: Store, name: str = "one.parquet", rows: int = 2) -> None:
    with store.writing(name) as writer:
        writer.add(pa.table({"track": ["a"] * rows, "value": list(range(rows))}))
        writer.finish(ENTRIES, {"note": "ä"})


def test_a_shard_comes_back_with_its_rows_entries_and_notes(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new" / "folder"))
    assert store.names() == []
    write(store)
    assert store.names() == ["one.parquet"]
    assert store.entries("one.parquet") == ENTRIES
    assert store.metadata("one.parquet")["note"] == "ä"
    assert pa.concat_tables(store.groups("one.parquet"))["value"].to_pylist() == [0, 1]


def test_rows_come_in_groups_of_bounded_size_and_in_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.writing("big.parquet") as writer:
        for i in range(5):
            writer.add(pa.table({"track": [str(i)], "pixels": [os.urandom(9 << 20)]}))
        writer.finish([])
    groups = list(store.groups("big.parquet", ["track"]))
    assert [group["track"].to_pylist() for group in groups] == [["0", "1"], ["2", "3"], ["4"]]


def test_a_shard_without_rows_still_says_what_it_holds(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.writing("none.parquet") as writer:
        writer.finish(ENTRIES[1:])
    assert store.entries("none.parquet") == ENTRIES[1:]
    assert sum(group.num_rows for group in store.groups("none.parquet")) == 0


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def half() -> None:
        with Store(str(tmp_path)).writing("one.parquet") as writer:
            writer.add(pa.table({"track": ["a"]}))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_a_damaged_footer_counts_as_no_shard(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(str(tmp_path))
    write(store)
    path = tmp_path / "one.parquet"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-20], "empty": b"", "garbage": b"PAR1" + bytes(64)}[damage])
    assert store.entries("one.parquet") is None
    assert "will be made again" in caplog.text


def test_damaged_rows_are_refused_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store, rows=5000)
    path = tmp_path / "one.parquet"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(bytes(content))
    assert store.entries("one.parquet") == ENTRIES
    with pytest.raises(RunError, match=r"one\.parquet is damaged.*remove the file"):
        list(store.groups("one.parquet"))


def test_sweeping_removes_only_what_was_abandoned_long_ago(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write(store)
    for name, age_s in ((".old.parquet.1.tmp", 2e5), (".new.parquet.2.tmp", 10.0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    store.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new.parquet.2.tmp", "one.parquet"]


def test_options_of_a_uri_stay_at_its_end() -> None:
    assert under("s3://bucket/a/?region=x", "b/c") == "s3://bucket/a/b/c?region=x"
    assert under("/what?/", "b") == "/what?/b"


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(RunError, match="nosuch://x cannot be opened"):
        Store("nosuch://x").names()
