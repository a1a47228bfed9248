"""Small corpora in GTZAN's layout, written file by file, and the real one where it is present."""

import csv
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.schema import FEATURE_COLUMNS


def write_sound(path: Path, hz: float = 440.0, duration_s: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(duration_s * 22_050)) / 22_050
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hz * t), 22_050)
    return path


def write_figure(path: Path, number: int = 0, size: tuple[int, int] = (432, 288)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (255, 255, 255))
    image.putpixel((60, 40), (number % 256, number // 256, 0))
    image.save(path)
    return path


def row(name: str, label: str, seed: float = 0.0) -> dict[str, object]:
    values = {column: seed + place / 10 for place, column in enumerate(FEATURE_COLUMNS)}
    return {"filename": name, "length": 661_794} | values | {"label": label}


def write_rows(path: Path, rows: Iterable[dict[str, object]], line_end: str = "\r\n") -> Path:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator=line_end)
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture(scope="session")
def files() -> SimpleNamespace:
    """Writers of a sine, a figure and a feature table; the tests are no package, so they get them as a fixture."""
    return SimpleNamespace(sound=write_sound, figure=write_figure, rows=write_rows, row=row)


@pytest.fixture
def gtzan_like(tmp_path: Path) -> Callable[..., Path]:
    """Builds a corpus in GTZAN's layout: three tracks a genre, each with figure, row and audio of its own."""

    def build(
        name: str = "corpus",
        genres: Iterable[str] = ("blues", "rock"),
        tracks: int = 3,
        parts: Iterable[str] = ("figures", "rows", "audio"),
        audio: str = "genres_original/{genre}/{genre}.{number:05d}.wav",
        figure: str = "images_original/{genre}/{genre}{number:05d}.png",
    ) -> Path:
        root, rows = tmp_path / name, []
        for place, genre in enumerate(genres):
            for number in range(tracks):
                seed = 100 * place + number
                names = {"genre": genre, "number": number}
                if "figures" in parts:
                    write_figure(root / figure.format(**names), seed)
                if "audio" in parts:
                    write_sound(root / audio.format(**names), 200 + 10 * seed)
                rows.append(row(f"{genre}.{number:05d}.wav", genre, seed))
        if "rows" in parts:
            write_rows(root / "features_30_sec.csv", rows)
        return root

    return build


@pytest.fixture(scope="session")
def real_gtzan() -> Path:
    root = os.environ.get("GENRE_RAY_DATA")
    if not root or not (Path(root) / "features_30_sec.csv").is_file():
        pytest.skip("GENRE_RAY_DATA does not name GTZAN in Kaggle's layout")
    return Path(root)


@pytest.fixture(scope="session")
def real_catalog(real_gtzan: Path) -> Catalog:
    return open_catalog(real_gtzan, need=["spectrogram", "features"])
