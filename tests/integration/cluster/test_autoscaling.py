"""A search on a cluster that has no worker when it begins: nodes come for its trials and go after them.

The nodes are real raylets on this machine, started and ended by Ray's autoscaler (version 2, as `ray up` uses it); only
that they are machines of their own is not real. cluster/aws.yaml's node types are tried in test_aws_launch.py.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.integration.cluster.fake_nodes import fake_cluster

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(1200)]

NODES = 2
CPUS = 2

SEARCH = {
    "name": "scaled",
    "protocol": {"name": "random-cv", "folds": 3, "validation_fraction": 0.3},
    "base": {
        "inputs": {"spectrogram": None, "features": {"scaling": "standard"}},
        "model": {"kind": "mlp", "width": 32},
        "training": {"epochs": 60, "batch_size": 16},
    },
    "space": {"training.learning_rate": {"loguniform": [1.0e-3, 1.0e-2]}},
    # So many trials may wait for a machine at once: that is what the autoscaler sees of the search.
    "search": {"metric": "accuracy", "trials": 6, "startup_trials": 6, "concurrency": NODES},
    "asha": None,
    # A trial fills a node.
    "resources": {"cpus": CPUS, "gpus": 0},
    "refit": {"seeds": [1]},
}


def test_nodes_come_for_a_search_and_go_when_it_is_done(tmp_path: Path, figures: Path) -> None:
    config = tmp_path / "scaled.yaml"
    config.write_text(yaml.safe_dump(SEARCH), encoding="utf-8")
    log = tmp_path / "search.log"
    with fake_cluster(tmp_path, cpus=CPUS, max_workers=NODES, idle_s=45) as cluster:
        cluster.watch.wait_for(0, within_s=60)
        with log.open("wb") as sink:
            search = subprocess.Popen(
                [
                    *(sys.executable, "-m", "genre_ray.tune", "--config", str(config), "--data", str(figures)),
                    *("--output", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")),
                    *("--address", cluster.address),
                ],
                stdout=sink,
                stderr=sink,
                env=os.environ | cluster.environment | {"OMP_NUM_THREADS": "1"},
            )
            try:
                search.wait(700)
            except subprocess.TimeoutExpired:
                pytest.fail(f"not done in 700 s; nodes {cluster.watch.steps()}; it said:\n{_tail(log)}")
            finally:
                search.kill()
        assert search.returncode == 0, _tail(log)
        cluster.watch.wait_for(0, within_s=180)
        steps = cluster.watch.steps()
        timeline = cluster.watch.seen
    keep = os.environ.get("GENRE_RAY_TIMELINE")
    if keep:
        Path(keep).write_text(json.dumps(timeline), encoding="utf-8")
    counts = [count for _, count in steps]
    assert counts[0] == 0
    assert max(counts) == NODES, steps
    assert counts[-1] == 0
    assert _turns(counts) == 1, f"nodes came and went more than once: {steps}"
    assert len(_finished(tmp_path / "results" / "scaled" / "study.journal")) == 6


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]


def _turns(counts: list[int]) -> int:
    """How often the number of nodes turned from rising to falling."""
    moves = [after - before for before, after in itertools.pairwise(counts)]
    signs = [move > 0 for move in moves if move]
    return sum(before and not after for before, after in itertools.pairwise(signs))


def _finished(journal: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="scaled", storage=JournalStorage(JournalFileBackend(str(journal))))
    return [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
