"""A cluster that has no machine when the work begins: actors wait for one, and work where there is room."""

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from genre_ray import predict
from genre_ray.data.shards import Process
from genre_ray.data.tabulation import tabulate
from genre_ray.schema import Track

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRACKS = [Track(id=f"t{i:03d}") for i in range(96)]


@dataclass(frozen=True)
class Slow:
    """A row a track, a moment each, with the process that made it."""

    def open(self) -> Process:
        return self._rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        return None

    def _rows(self, track: Track) -> Iterator[pa.Table]:
        time.sleep(0.1)
        yield pa.table({"track": [track.id], "process": [os.getpid()]})


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs, and nothing else yet."""
    assert not ray.is_initialized()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_machine_that_comes_later_is_worked_on_and_every_track_is_counted_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    out, said = tmp_path / "t.parquet", io.StringIO()
    assert predict._may_grow()
    # Twice as many as there will ever be room for.
    actors = predict.actors_for(len(TRACKS), 4, "cpu")
    with ThreadPoolExecutor() as pool:
        work = pool.submit(tabulate, TRACKS, Slow(), out, facts={}, verb="trying", actors=actors, stream=said)
        time.sleep(5)
        assert not work.done()
        cluster.add_node(num_cpus=2)  # in the main thread: Ray sets its signals there
        done = work.result(timeout=200)
    table = pq.read_table(out)
    assert table["track"].to_pylist() == [track.id for track in TRACKS]
    assert len(set(table["process"].to_pylist())) == 2
    assert (done.tracks, done.failed, done.reused) == (96, {}, 0)
    assert "trying 96/96 tracks" in said.getvalue().splitlines()[-1]
