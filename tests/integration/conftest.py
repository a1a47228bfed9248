"""Ray on two cores, and a small corpus of figures with feature rows that a small model learns in a moment."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genre_ray.connection import connect
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.spectrogram import figure_from_levels

CORPUS_LABELS = ("blues", "metal", "pop", "rock")
PER_LABEL = 10


@pytest.fixture(scope="module")
def ray_on_two_cores() -> Iterator[None]:
    with connect(num_cpus=2):
        yield


def levels(label: int, number: int) -> np.ndarray:
    """Stripes as wide as the label says, under noise of the track's own."""
    generator = np.random.default_rng([label, number])
    stripes = np.where(np.arange(334) % (8 << label) < (4 << label), 120, 0)
    return (generator.integers(0, 120, (1, 128, 334)) + stripes).astype(np.uint8)


def write_corpus(root: Path) -> Path:
    """GTZAN's layout without audio: 40 figures and their rows."""
    lines = [",".join(("filename", "length", *FEATURE_COLUMNS, "label"))]
    for place, label in enumerate(CORPUS_LABELS):
        folder = root / "images_original" / label
        folder.mkdir(parents=True)
        for number in range(PER_LABEL):
            figure_from_levels(levels(place, number)).save(folder / f"{label}{number:05d}.png")
            row = np.random.default_rng([9, place, number]).standard_normal(57) + 3 * (np.arange(57) % 4 == place)
            lines.append(",".join((f"{label}.{number:05d}.wav", "661794", *(repr(float(x)) for x in row), label)))
    (root / "features_30_sec.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "gtzan-like")
