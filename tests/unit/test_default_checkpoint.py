"""The checkpoints that ship with the package: small, found when nobody has trained, equal for audio and figure."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

import genre_ray
from genre_ray.checkpoint import open_checkpoint, version_of
from genre_ray.features import from_row
from genre_ray.inference import Predictor
from genre_ray.schema import GENRES, Track
from genre_ray.serve.settings import ServeArgs, find_checkpoint

PACKAGE = Path(genre_ray.__file__).parent
SHIPPED = PACKAGE / "default_checkpoint"
BOTH = pytest.mark.parametrize("shipped", [SHIPPED, PACKAGE / "single_checkpoint"], ids=["default", "single"])
DATA = os.environ.get("GENRE_RAY_DATA")


@BOTH
def test_it_is_small_whole_and_has_a_card(shipped: Path) -> None:
    assert sum(path.stat().st_size for path in shipped.iterdir()) <= 8 * 1024**2
    opened = open_checkpoint(shipped)
    assert opened.labels == GENRES
    assert opened.version in (shipped / "README.md").read_text(encoding="utf-8")


def test_it_is_what_answers_when_nobody_has_trained(tmp_path: Path) -> None:
    assert find_checkpoint(ServeArgs(results=str(tmp_path))) == str(SHIPPED)


@pytest.mark.parametrize("name", ["default", "single"])
def test_each_is_found_by_its_name_and_a_folder_of_that_name_goes_before(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(ServeArgs(checkpoint=name)) == str(PACKAGE / f"{name}_checkpoint")
    assert version_of(name) == open_checkpoint(name).version == open_checkpoint(PACKAGE / f"{name}_checkpoint").version
    (tmp_path / name).mkdir()
    assert find_checkpoint(ServeArgs(checkpoint=name)) == str(tmp_path / name)


@BOTH
def test_it_was_fitted_on_no_test_track_of_its_protocol(shipped: Path) -> None:
    data = open_checkpoint(shipped).manifest["data"]
    assert data["protocol"] == "paper"
    assert len(set(data["tracks"])) == len(data["tracks"]) == 799


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="GENRE_RAY_DATA does not name the real data")
@BOTH
def test_audio_gets_the_genre_of_its_figure_and_row_on_every_track(shipped: Path) -> None:
    root = Path(DATA or "")
    with (root / "features_30_sec.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["filename"].removesuffix(".wav"): from_row(row) for row in csv.DictReader(file)}
    predictor = Predictor.open(shipped, device="cpu")
    songs = sorted((root / "genres_original").rglob("*.wav"))
    assert len(songs) >= 50
    for song in songs:
        genre, number = song.stem.split(".")
        figure = root / "images_original" / genre / f"{genre}{number}.png"
        heard = predictor.predict(Track(id=song.stem, audio=song))
        seen = predictor.predict(Track(id=song.stem, figure=figure, features=rows[song.stem]))
        assert heard.label == seen.label, song.stem
        np.testing.assert_allclose(heard.probabilities, seen.probabilities, atol=0.02, err_msg=song.stem)
