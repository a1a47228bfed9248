"""How many actors predict: as many as are asked for, or as the cluster has room for now and may have later."""

import pytest

from genre_ray import predict
from genre_ray.data import execution


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A cluster that was there before: its CPUs and GPUs as they are now."""
    resources = {"CPU": 0.0, "GPU": 0.0}
    monkeypatch.setattr(execution, "cpus", lambda: max(1, int(resources["CPU"])))
    monkeypatch.setattr(execution, "gpus", lambda: resources["GPU"])
    monkeypatch.setattr(predict, "_may_grow", lambda: True)
    return resources


@pytest.mark.parametrize(("asked", "most", "count"), [(64, 1000, 64), (64, 5, 5), (None, 1_000_000, 256)])
def test_a_cluster_scaled_to_zero_is_asked_for_actors_all_the_same(
    cluster: dict[str, float], asked: int | None, most: int, count: int
) -> None:
    assert predict.actors_for(1_000_000, asked, "auto")(most).count == count


@pytest.mark.parametrize(("tracks", "cpus", "count"), [(100, 0, 1), (10_000, 0, 39), (10_000, 64, 64), (8, 2, 2)])
def test_unless_asked_an_actor_comes_for_so_many_tracks_that_a_machine_is_worth_it(
    cluster: dict[str, float], tracks: int, cpus: int, count: int
) -> None:
    cluster["CPU"] = cpus
    assert predict.actors_for(tracks, None, "cpu")(tracks).count == count


def test_this_machine_alone_does_not_grow(cluster: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "_may_grow", lambda: False)
    cluster["CPU"] = 4
    assert predict.actors_for(1_000_000, None, "cpu")(1000).count == 4


@pytest.mark.parametrize(("asked", "device", "share"), [(2, "auto", 0.5), (64, "auto", 1 / 16), (2, "cpu", 0.0)])
def test_actors_beyond_the_machines_of_now_do_not_crowd_their_gpus(
    cluster: dict[str, float], asked: int, device: str, share: float
) -> None:
    cluster.update(CPU=16, GPU=1)
    assert predict.actors_for(100_000, asked, device)(1000).num_gpus == share
