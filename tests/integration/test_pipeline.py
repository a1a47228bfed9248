"""Preparation with Ray Data: what it gives, what it keeps, and what it survives."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig, SpectrogramConfig
from genre_ray.data import execution
from genre_ray.data.catalog import open_catalog
from genre_ray.data.pipeline import PreparedCorpus, prepare
from genre_ray.data.shards import CRASHED, UNEXPECTED, Process, cut
from genre_ray.data.store import Store
from genre_ray.errors import CatalogError, RunError, TrackError
from genre_ray.preprocessing import extract
from genre_ray.schema import Track

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_on_two_cores")]

INPUTS = InputConfig()
NAMES = ("track", "label", "index", "start_s", "spectrogram", "features")


@pytest.fixture
def corpus(figures: Path, tmp_path: Path) -> Path:
    """A corpus that a test may break."""
    return Path(shutil.copytree(figures, tmp_path / "corpus"))


def prepared(root: Path, cache: Path, inputs: InputConfig = INPUTS) -> PreparedCorpus:
    return prepare(open_catalog(root, need=["spectrogram", "features"]), inputs, cache=cache, progress=False)


def assert_same(one: ClipTable, two: ClipTable) -> None:
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_prepared_clips_are_those_of_extract_in_the_order_of_the_ids(figures: Path, tmp_path: Path) -> None:
    catalog = open_catalog(figures)
    table = prepare(catalog, INPUTS, cache=tmp_path, progress=False).load()
    expected = [clip for track in catalog.tracks for clip in extract(track, INPUTS)]
    assert table.track.tolist() == sorted(track.id for track in catalog.tracks)
    assert_same(table, ClipTable.from_clips(sorted(expected, key=lambda clip: clip.track)))


def test_a_second_run_comes_from_the_cache_says_so_and_needs_no_worker(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(figures, tmp_path)
    monkeypatch.setattr(execution, "run", lambda *_, **__: pytest.fail("there was nothing to do"))
    said = io.StringIO()
    again = prepare(open_catalog(figures), INPUTS, cache=tmp_path, stream=said)
    assert (first.from_cache, again.from_cache, again.reused) == (False, True, 40)
    assert said.getvalue().startswith("from cache: 40 clips of 40 tracks in ")
    assert_same(again.load(), first.load())


def test_the_cache_serves_the_same_files_wherever_they_lie(corpus: Path, tmp_path: Path) -> None:
    prepared(corpus, tmp_path / "cache")
    moved = corpus.rename(tmp_path / "elsewhere")
    assert prepared(moved, tmp_path / "cache").from_cache


def test_a_changed_and_a_new_file_cost_only_themselves(corpus: Path, tmp_path: Path) -> None:
    kept = corpus / "images_original" / "rock" / "rock00009.png"
    aside = kept.rename(tmp_path / "aside.png")
    before = prepared(corpus, tmp_path / "cache").load()
    pop = corpus / "images_original" / "pop"
    shutil.copy(pop / "pop00001.png", pop / "pop00000.png")
    aside.rename(kept)
    after = prepared(corpus, tmp_path / "cache")
    table = after.load()
    assert (after.reused, len(before), len(table)) == (38, 39, 40)
    rows = {track: i for i, track in enumerate(table.track.tolist())}
    np.testing.assert_array_equal(table.spectrogram[rows["pop.00000"]], table.spectrogram[rows["pop.00001"]])
    unchanged = [track for track in before.track.tolist() if track != "pop.00000"]
    assert_same(table.part(unchanged), before.part(unchanged))


def test_another_picture_is_another_entry_and_another_scaling_is_not(figures: Path, tmp_path: Path) -> None:
    prepared(figures, tmp_path)
    scaled = InputConfig(spectrogram=SpectrogramConfig(normalisation="global"))
    whole = InputConfig(spectrogram=SpectrogramConfig(form="figure", size=32))
    assert prepared(figures, tmp_path, scaled).from_cache
    paper = prepared(figures, tmp_path, whole)
    assert not paper.from_cache
    assert paper.load().spectrogram.shape == (40, 3, 32, 32)


def test_a_damaged_file_is_a_fault_and_not_the_end(corpus: Path, tmp_path: Path) -> None:
    catalog = open_catalog(corpus)
    # After the catalog looked at them, so that decoding has to find it out.
    for name in ("rock00000.png", "rock00001.png"):
        path = corpus / "images_original" / "rock" / name
        path.write_bytes(path.read_bytes()[:2000])
    (corpus / "images_original" / "pop" / "pop00003.png").unlink()
    result = prepare(catalog, INPUTS, cache=tmp_path / "cache", progress=False)
    assert len(result.catalog) == len(result.load()) == 37
    faults = {fault.kind: fault for fault in result.catalog.faults}
    assert faults["undecodable"].tracks == faults["undecodable"].left_out == ("rock.00000", "rock.00001")
    assert faults["not_found"].left_out == ("pop.00003",)
    assert "2 × undecodable" in result.catalog.fault_report()


def test_only_faults_that_may_pass_are_tried_again(corpus: Path, tmp_path: Path) -> None:
    catalog = open_catalog(corpus)
    gone = corpus / "images_original" / "pop" / "pop00003.png"
    aside = gone.rename(tmp_path / "aside.png")
    (corpus / "images_original" / "rock" / "rock00000.png").write_bytes(b"no picture")
    assert len(prepare(catalog, INPUTS, cache=tmp_path / "cache", progress=False).catalog) == 38
    aside.rename(gone)
    again = prepare(catalog, INPUTS, cache=tmp_path / "cache", progress=False)
    assert (again.reused, len(again.catalog)) == (39, 39)
    assert [fault.kind for fault in again.catalog.faults] == ["undecodable"]


def test_nothing_but_faults_is_an_error_that_lists_them(corpus: Path, tmp_path: Path) -> None:
    catalog = open_catalog(corpus)
    shutil.rmtree(corpus / "images_original")
    with pytest.raises(CatalogError, match="no track could be prepared; found: faults:   40 × not_found"):
        prepare(catalog, INPUTS, cache=tmp_path / "cache", progress=False)


def test_the_stream_holds_the_same_clips_and_only_those_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    prepared(corpus, tmp_path / "cache")
    pop = corpus / "images_original" / "pop"
    shutil.copy(pop / "pop00001.png", pop / "pop00000.png")  # its old clip stays in its shard, and must not come out
    (pop / "pop00002.png").unlink()
    result = prepared(corpus, tmp_path / "cache")
    batches = list(result.dataset().iter_batches(batch_size=16, batch_format="numpy"))
    table = result.load()
    order = np.argsort(np.concatenate([batch["track"] for batch in batches]))
    assert len(order) == len(table) == 39
    for name in NAMES:
        streamed = np.concatenate([batch[name] for batch in batches])[order]
        np.testing.assert_array_equal(streamed, getattr(table, name), err_msg=name)
    assert batches[0]["spectrogram"].shape[1:] == (1, 128, 334)
    assert batches[0]["spectrogram"].dtype == np.uint8


def test_a_damaged_shard_is_made_again(figures: Path, tmp_path: Path) -> None:
    first = prepared(figures, tmp_path)
    shards = sorted(Path(first.path).glob("*.parquet"))
    shards[0].write_bytes(shards[0].read_bytes()[:-100])
    again = prepared(figures, tmp_path)
    assert 0 < again.reused < 40
    assert_same(again.load(), first.load())


@dataclass(frozen=True)
class Trouble:
    """Work in which single tracks do what their names say; `notes` gets a file for each call."""

    notes: str
    slow_s: float = 0.0

    def open(self) -> Process:
        return self.rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        return None

    def rows(self, track: Track) -> Iterator[pa.Table]:
        (Path(self.notes) / f"{track.id}-{os.getpid()}-{time.monotonic_ns()}").touch()
        if track.id == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        if track.id == "bug":
            raise RuntimeError("a bug")
        if track.id == "silent":
            raise TrackError("silent: nothing to hear", kind="silent")
        time.sleep(self.slow_s)
        yield pa.table({"track": [track.id]})


def work_on(names: list[str], folder: Path, *, size: int, slow_s: float = 0.0) -> tuple[Trouble, Store, list]:
    notes = folder / "notes"
    notes.mkdir(parents=True)
    pieces = cut([(Track(id=name), "k") for name in names], size=size)
    return Trouble(str(notes), slow_s), Store(str(folder / "store")), pieces


def test_bad_tracks_and_one_that_kills_its_worker_leave_the_others_alone(tmp_path: Path) -> None:
    names = [f"t{i:02d}" for i in range(20)]
    names[3:3] = ["bug", "killer", "silent"]
    work, store, pieces = work_on(names, tmp_path, size=8)
    entries = [entry for done in execution.run(pieces, work, store) for entry in done.entries]
    assert Counter(entry.track for entry in entries) == Counter(names)
    assert {entry.track: entry.kind for entry in entries if entry.kind} == {
        "bug": UNEXPECTED,
        "killer": CRASHED,
        "silent": "silent",
    }
    assert len(list(Path(work.notes).glob("killer-*"))) == 2


def test_shards_that_are_given_to_ray_in_waves_are_all_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_WAVE", 2)
    names = [f"t{i:02d}" for i in range(10)]
    work, store, pieces = work_on(names, tmp_path, size=2)
    done = list(execution.run(pieces, work, store))
    assert sorted(each.name for each in done) == sorted(piece.name for piece in pieces)
    assert sorted(entry.track for each in done for entry in each.entries) == names


def test_actors_survive_a_track_that_kills_them(tmp_path: Path) -> None:
    names = ["a", "b", "killer", "c", "d"]
    work, store, pieces = work_on(names, tmp_path, size=3)
    done = list(execution.run(pieces, work, store, actors=execution.Actors(count=1)))
    kinds = {entry.track: entry.kind for each in done for entry in each.entries}
    assert kinds == {"a": None, "b": None, "c": None, "d": None, "killer": CRASHED}


def test_a_worker_killed_from_outside_loses_and_doubles_nothing(tmp_path: Path) -> None:
    names = [f"t{i:02d}" for i in range(24)]
    work, store, pieces = work_on(names, tmp_path, size=6, slow_s=0.15)
    run = execution.run(pieces, work, store)
    entries = list(next(run).entries)
    newest = max(Path(work.notes).iterdir(), key=lambda path: int(path.name.split("-")[2]))
    os.kill(int(newest.name.split("-")[1]), signal.SIGKILL)
    entries += [entry for done in run for entry in done.entries]
    assert Counter(entry.track for entry in entries) == Counter(names)
    assert all(entry.kind is None for entry in entries)
    rows = pa.concat_tables(table for name in store.names() for table in store.groups(name))
    assert sorted(rows["track"].to_pylist()) == names


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    work, _, pieces = work_on(["a"], tmp_path, size=1)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="file/store cannot be written"):
        list(execution.run(pieces, work, Store(str(tmp_path / "file" / "store"))))


KILLED = """
import sys
from genre_ray.config import InputConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import open_catalog
from genre_ray.data.pipeline import prepare
with connect(num_cpus=1):
    prepare(open_catalog(sys.argv[1]), InputConfig(), cache=sys.argv[2])
"""


@pytest.mark.slow
def test_preparation_killed_with_its_driver_goes_on_from_the_finished_shards(figures: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(figures), str(tmp_path / "cache")]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cache").rglob("*.parquet")):
        assert driver.poll() is None, "the driver ended before it had written a shard"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    children = psutil.Process(driver.pid).children(recursive=True)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=30)
    again = prepared(figures, tmp_path / "cache")
    assert 0 < again.reused < 40
    assert_same(again.load(), prepared(figures, tmp_path / "other").load())


def test_prepared_tracks_are_read_from_the_object_store_without_a_copy() -> None:
    count = 2000
    table = ClipTable(
        track=np.array([f"t{i}" for i in range(count)]),
        label=np.array(["rock"] * count),
        index=np.zeros(count, np.int32),
        start_s=np.zeros(count),
        spectrogram=np.random.default_rng(0).integers(0, 256, (count, 1, 128, 334), dtype=np.uint8),
        features=np.zeros((count, 57)),
    )
    shared = ray.put(table)

    @ray.remote(num_cpus=1)
    def look(seen: ClipTable) -> tuple[bool, bool, int, int]:
        picture = seen.spectrogram
        total = int(picture.sum(dtype=np.int64))  # reads every byte
        private = psutil.Process().memory_full_info().uss
        return picture.flags.writeable, picture.flags.owndata, total, private

    idle = ray.get(look.remote(table.take([0])))[3]
    seen = ray.get([look.remote(shared), look.remote(shared)])
    for writeable, owndata, total, private in seen:
        assert not writeable
        assert not owndata
        assert total == int(table.spectrogram.sum(dtype=np.int64))
        assert private - idle < 0.5 * table.spectrogram.nbytes
