"""Two data-parallel workers over gloo give the losses and weights of one worker with the same global batch."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.training import Trainer

LABELS = ("a", "b", "c")
WORKERS = 2


def table() -> ClipTable:
    generator = np.random.default_rng(0)
    target = np.arange(41) % 3
    return ClipTable(
        track=np.array([f"t{i}" for i in range(41)]),
        label=np.array(LABELS)[target],
        index=np.zeros(41, np.int32),
        start_s=np.zeros(41),
        spectrogram=generator.integers(0, 255, (41, 1, 16, 40), dtype=np.uint8),
        features=generator.standard_normal((41, 57)) + target[:, None],
    )


def run() -> RunConfig:
    """Mixup and crops, but neither dropout nor batch normalisation; 41 clips in batches of at most 8: ragged."""
    return parse(
        RunConfig,
        {
            "model": {
                "kind": "hybrid",
                "cnn": {"width": 4, "stages": 2, "hidden": 8, "batch_norm": False, "dropout": 0.0},
                "mlp": {"width": 16, "dropout": 0.0},
                "hidden": 8,
                "dropout": 0.0,
            },
            "training": {
                "epochs": 3,
                "batch_size": 8,
                "learning_rate": 0.001,
                "gradient_clip": 1.0,
                "average_decay": 0.9,
                "augment": {"crop_columns": 24, "mixup": 0.3, "time_masks": 1},
            },
        },
        origin="test",
    )


def work(rank: int, port: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORKERS)

    def wrap(model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model)

    trainer = Trainer(run(), table(), table(), labels=LABELS, device="cpu", threads=1, shard=(rank, WORKERS), wrap=wrap)
    while not trainer.finished:
        trainer.run_epoch()
    losses = [(result.train_loss, result.train_accuracy, result.validation_loss) for result in trainer.history]
    torch.save((losses, trainer.fitted().model.state_dict()), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_are_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(work, args=(port, str(tmp_path)), nprocs=WORKERS)
    alone = Trainer(run(), table(), table(), labels=LABELS, device="cpu", threads=1)
    while not alone.finished:
        alone.run_epoch()
    weights = alone.fitted().model.state_dict()
    for rank in range(WORKERS):
        losses, state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for found, expected in zip(losses, alone.history, strict=True):
            assert found[0] == pytest.approx(expected.train_loss, abs=1e-5)
            assert found[1] == pytest.approx(expected.train_accuracy, abs=1e-6)
            assert found[2] == pytest.approx(expected.validation_loss, abs=1e-5)
        for name, value in state.items():
            torch.testing.assert_close(value, weights[name], atol=1e-4, rtol=1e-3)
