"""Streams of clips out of shards: every clip once, in an order that the seed decides, in bounded memory."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genre_ray.clips import ClipTable
from genre_ray.data.reading import ThreadReader, ahead
from genre_ray.data.store import Entry, Store
from genre_ray.data.streaming import StreamingConfig
from genre_ray.data.streams import ClipStream, exchanged
from genre_ray.errors import RunError

TRACKS, SHARDS = 60, 7


def clips_of(track: int) -> ClipTable:
    """One to three clips; each pixel and each feature says which track and which clip it is of."""
    count = 1 + track % 3
    picture = np.full((count, 1, 4, 6), track, np.uint8)
    picture[:, 0, 0, 0] = np.arange(count)
    return ClipTable(
        track=np.array([f"track.{track:03d}"] * count),
        label=np.array(["odd" if track % 2 else "even"] * count),
        index=np.arange(count, dtype=np.int32),
        start_s=np.arange(count) * 30.0,
        spectrogram=picture,
        features=np.full((count, 57), track + np.arange(count)[:, None] / 8),
    )


@pytest.fixture
def stream(tmp_path: Path) -> ClipStream:
    store, places = Store(str(tmp_path)), []
    for shard in range(SHARDS):
        name, entries = f"shard-{shard}.parquet", []
        with store.writing(name) as writer:
            for track in range(shard, TRACKS, SHARDS):
                table = clips_of(track)
                entries.append(Entry(f"track.{track:03d}", "key", writer.rows, len(table)))
                writer.add(table.to_arrow())
                if track % 2:
                    writer._flush()  # many row groups
            writer.finish(entries)
        places += [(shard, entry) for entry in entries]
    return ClipStream(
        store=store,
        reader=ThreadReader(),
        settings=StreamingConfig(),
        shards=tuple(f"shard-{shard}.parquet" for shard in range(SHARDS)),
        shard=np.array([shard for shard, _ in places], np.int32),
        first=np.array([entry.first for _, entry in places]),
        rows=np.array([entry.rows for _, entry in places]),
        track=np.array([entry.track for _, entry in places]),
        label=np.array(["odd" if int(entry.track[-3:]) % 2 else "even" for _, entry in places]),
        picture_shape=(1, 4, 6),
        n_columns=57,
    )


def names(pieces) -> list[tuple[str, int]]:
    """Track and number of each clip, after checking that all columns are of the same clip."""
    found = []
    for piece in pieces:
        number = np.array([int(track[-3:]) for track in piece.track])
        np.testing.assert_array_equal(piece.spectrogram[:, 0, 3, 5], number)
        np.testing.assert_array_equal(piece.spectrogram[:, 0, 0, 0], piece.index)
        np.testing.assert_array_equal(piece.features[:, 9], number + piece.index / 8)
        np.testing.assert_array_equal(piece.label, np.where(number % 2, "odd", "even"))
        found += list(zip(piece.track.tolist(), piece.index.tolist(), strict=True))
    return found


EVERY_CLIP = sorted((f"track.{track:03d}", clip) for track in range(TRACKS) for clip in range(1 + track % 3))


def test_pieces_are_all_clips_in_the_order_that_the_stream_names(stream):
    found = names(stream.pieces())
    assert sorted(found) == EVERY_CLIP
    assert [track for track, _ in found] == stream.tracks_of_clips().tolist()
    assert len(stream) == len(EVERY_CLIP)


def test_an_epoch_has_every_clip_once_and_its_seed_decides_the_order(stream):
    first, again, other = (names(stream.shuffled(seed)) for seed in ((1, 2, 0), (1, 2, 0), (1, 2, 1)))
    assert first == again
    assert sorted(first) == sorted(other) == EVERY_CLIP
    assert first != other
    assert first != names(stream.pieces())


@pytest.mark.parametrize("size", [2, 3, 5])
def test_workers_share_an_epoch_evenly_and_overlap_nowhere(stream, size):
    shares = [names(stream.shuffled((7, 1, 3), share=(rank, size))) for rank in range(size)]
    assert sorted(clip for share in shares for clip in share) == EVERY_CLIP
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_part_streams_its_tracks_alone(stream):
    wanted = [f"track.{track:03d}" for track in (3, 4, 5, 58)]
    part = stream.part([*wanted, "unknown"])
    assert sorted(part.labels) == wanted
    assert sorted(names(part.shuffled((0, 0, 0)))) == [clip for clip in EVERY_CLIP if clip[0] in wanted]
    assert part.key != stream.key
    assert part.key == stream.part(wanted).key


def test_without_pictures_none_are_read(stream):
    assert all(piece.spectrogram is None for piece in stream.pieces(pictures=False))


def test_a_damaged_shard_ends_the_stream_with_its_name(stream):
    path = Path(stream.store.location) / "shard-3.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match=r"shard-3\.parquet is damaged"):
        names(stream.pieces())


@pytest.mark.parametrize("held", [1, 10, 64, 10_000])
def test_a_buffer_of_any_size_gives_each_row_once(held):
    read = [{"number": np.arange(start, min(start + 30, 200))} for start in range(0, 200, 30)]
    out = list(exchanged(iter(read), 200, held * 8, np.random.default_rng(0)))
    assert sorted(np.concatenate([rows["number"] for rows in out]).tolist()) == list(range(200))


@pytest.mark.parametrize("held", [1, 3, 40, 150])
def test_how_rows_are_cut_into_pieces_does_not_change_their_order(held):
    def order(size: int) -> list[int]:
        read = ({"number": np.arange(start, min(start + size, 200))} for start in range(0, 200, size))
        found = exchanged(read, 200, held * 8, np.random.default_rng(5))
        return np.concatenate([rows["number"] for rows in found]).tolist()

    assert sorted(order(1)) == list(range(200))
    assert order(1) == order(7) == order(64) == order(200)


def test_a_buffer_that_holds_all_leaves_nothing_of_the_order():
    read = [{"number": np.arange(start, start + 100)} for start in range(0, 2000, 100)]
    out = np.concatenate([r["number"] for r in exchanged(iter(read), 2000, 8 * 2000, np.random.default_rng(0))])
    assert abs(np.corrcoef(out, np.arange(2000))[0, 1]) < 0.1


def test_the_buffer_holds_no_more_than_it_may():
    def read():
        for start in range(0, 4000, 100):
            yield {"number": np.arange(start, start + 100)}

    seen = 0
    for rows in exchanged(read(), 4000, 500 * 8, np.random.default_rng(0)):
        seen += len(rows["number"])
        if seen == 1000:
            assert rows["number"].max() < 1700  # 1000 given, 500 held, a piece in hand
    assert seen == 4000


def test_reading_ahead_raises_where_it_is_read_and_ends_with_its_reader():
    def make():
        yield 1
        yield 2
        raise OSError("the disk is gone")

    reading = ahead(make, 1)
    assert next(reading) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        list(reading)
    endless = ahead(lambda: iter(range(10**9)), 2)
    assert next(endless) == 0
    endless.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "genre_ray-reading" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_knows_what_it_would_take_in_memory(stream):
    assert stream.nbytes == len(EVERY_CLIP) * (24 + 57 * 8)
    assert replace(stream, picture_shape=None).nbytes == len(EVERY_CLIP) * 57 * 8
