"""A machine that goes away in the middle of the work costs the shards in its hands, and those are done again."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.cluster_utils import Cluster

from genre_ray.data import execution
from genre_ray.data.execution import Actors
from genre_ray.data.shards import Process, cut
from genre_ray.data.store import Store
from genre_ray.schema import Track

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NAMES = [f"t{i:02d}" for i in range(40)]


@dataclass(frozen=True)
class Slow:
    """A row a track, a moment each; `notes` gets a file named after the node for every track."""

    notes: str

    def open(self) -> Process:
        return self.rows

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        return None

    def rows(self, track: Track) -> Iterator[pa.Table]:
        node = ray.get_runtime_context().get_node_id()
        (Path(self.notes) / f"{track.id}-{node}-{time.monotonic_ns()}").touch()
        time.sleep(0.2)
        yield pa.table({"track": [track.id]})


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes with one each: three raylets on this machine."""
    assert not ray.is_initialized()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.parametrize("actors", [None, Actors(count=2)], ids=["tasks", "actors"])
def test_a_node_killed_in_the_middle_loses_and_doubles_nothing(
    cluster: Cluster, tmp_path: Path, actors: Actors | None
) -> None:
    work, store = Slow(str(tmp_path / "notes")), Store(str(tmp_path / "store"))
    Path(work.notes).mkdir()
    shards = cut([(Track(id=name), "k") for name in NAMES], size=5)
    done = execution.run(shards, work, store, actors=actors)
    entries = list(next(done).entries)
    victim = max(Path(work.notes).iterdir(), key=lambda path: int(path.name.rsplit("-", 1)[1])).name.split("-")[1]
    node = next(each for each in cluster.worker_nodes if each.node_id == victim)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    entries += [entry for each in done for entry in each.entries]
    assert Counter(entry.track for entry in entries) == Counter(NAMES)
    assert all(entry.kind is None for entry in entries)
    rows = pa.concat_tables(table for name in store.names() for table in store.groups(name))
    assert sorted(rows["track"].to_pylist()) == NAMES
    nodes = {path.name.split("-")[1] for path in Path(work.notes).iterdir()}
    assert victim in nodes
    assert len(nodes) >= 2
