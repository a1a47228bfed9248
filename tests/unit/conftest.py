"""A tiny learnable corpus, and a small fitted hybrid, for the tests of training, checkpoints and inference."""

import numpy as np
import pytest

from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.fitted import Fitted
from genre_ray.training import fit

LABELS = ("alpha", "beta", "gamma")


@pytest.fixture(scope="session")
def labels() -> tuple[str, ...]:
    return LABELS


@pytest.fixture(scope="session")
def tiny_table() -> ClipTable:
    """45 tracks of two clips, 1 x 16 x 40 pictures; each label has its own stripes and its own shifted feature."""
    generator = np.random.default_rng(7)
    target = np.repeat(np.arange(45) % 3, 2)
    pictures = generator.integers(0, 120, (90, 1, 16, 40), dtype=np.uint8)
    period = np.array([4, 8, 20])[target]
    pictures += np.where(np.arange(40) % period[:, None] < period[:, None] // 2, 100, 0).astype(np.uint8)[:, None, None]
    features = generator.standard_normal((90, 57)) * 3 + 100
    features[np.arange(90), target] += 6
    table = ClipTable(
        track=np.array([f"{LABELS[t]}.{i // 2:05d}" for i, t in enumerate(target)]),
        label=np.array([LABELS[t] for t in target]),
        index=np.tile(np.arange(2, dtype=np.int32), 45),
        start_s=np.tile([0.0, 30.0], 45),
        spectrogram=pictures,
        features=features,
    )
    for array in (table.spectrogram, table.features):
        array.flags.writeable = False  # as in Ray's object store
    return table


@pytest.fixture(scope="session")
def parts(tiny_table: ClipTable) -> tuple[ClipTable, ClipTable]:
    """31 tracks to train on, 14 to validate on."""
    return tiny_table.take(np.arange(62)), tiny_table.take(np.arange(62, 90))


@pytest.fixture(scope="session")
def tiny_run() -> RunConfig:
    """A small hybrid with every technique on."""
    return parse(
        RunConfig,
        {
            "model": {
                "kind": "hybrid",
                "cnn": {"width": 4, "stages": 2, "hidden": 8},
                "mlp": {"width": 16},
                "hidden": 16,
            },
            "training": {
                "epochs": 6,
                "batch_size": 16,
                "learning_rate": 0.01,
                "schedule": "one_cycle",
                "optimizer": "adamw",
                "weight_decay": 0.01,
                "label_smoothing": 0.05,
                "average_decay": 0.8,
                "gradient_clip": 1.0,
                "augment": {
                    "crop_columns": 24,
                    "test_crops": 3,
                    "mixup": 0.3,
                    "time_masks": 1,
                    "time_mask_columns": 4,
                    "frequency_masks": 1,
                    "frequency_mask_bins": 2,
                    "feature_noise": 0.1,
                },
            },
        },
        origin="test",
    )


@pytest.fixture(scope="session")
def fitted(tiny_run: RunConfig, parts: tuple[ClipTable, ClipTable]) -> Fitted:
    return fit(tiny_run, *parts, labels=LABELS, device="cpu", threads=1)
