"""Tiny checkpoints from generated clips, for tests of the service. Knows nothing about Ray."""

from pathlib import Path

import numpy as np

from genre_ray import checkpoint, training
from genre_ray.clips import ClipTable
from genre_ray.config import CnnConfig, HybridConfig, InputConfig, MlpConfig, RunConfig, TrainingConfig
from genre_ray.schema import GENRES, Clip


def write_checkpoint(path: Path, *, seed: int = 0, labels: tuple[str, ...] = GENRES) -> Path:
    """A hybrid checkpoint whose clips have a level and features of their own for each label."""
    generator = np.random.default_rng(seed)
    clips = [
        Clip(
            track=f"{label}.{i:05d}",
            label=label,
            spectrogram=np.clip(generator.normal(20 + 20 * place, 12, (1, 128, 334)), 0, 255).astype(np.uint8),
            features=generator.normal(place, 0.3, 57),
        )
        for place, label in enumerate(labels)
        for i in range(2)
    ]
    config = RunConfig(
        inputs=InputConfig(),
        model=HybridConfig(
            cnn=CnnConfig(width=4, stages=2, hidden=8), mlp=MlpConfig(width=16, layers=2, dropout=0.0), hidden=8
        ),
        training=TrainingConfig(epochs=2, batch_size=10, seed=seed),
    )
    fitted = training.fit(config, ClipTable.from_clips(clips), labels=labels, device="cpu", threads=1)
    data = {"name": "generated", "fingerprint": "0", "protocol": "none", "leaks": "none", "tracks": len(clips)}
    checkpoint.save(path, [fitted], metrics={}, data=data)
    return path
