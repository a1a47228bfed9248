"""The export of features: the numbers of `features.extract`, and figures that read back as the spectrogram."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from genre_ray import audio, features, spectrogram
from genre_ray.config import ClipConfig
from genre_ray.data.export import export_features
from genre_ray.data.tabulation import MADE_FROM
from genre_ray.schema import FEATURE_COLUMNS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_on_two_cores")]

CLIP = ClipConfig(duration_s=2.0)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two tracks of 2 s, one of 4 s, one that is no audio."""
    root = tmp_path / "music"
    for place, (name, duration_s) in enumerate(
        (("rock/rock.00000.wav", 2), ("rock/long.wav", 4), ("pop/pop.00001.flac", 2))
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(place).standard_normal(22_050 * duration_s)
        tone = np.sin(2 * np.pi * 220 * (place + 1) * np.arange(len(noise)) / 22_050)
        soundfile.write(root / name, 0.3 * tone + 0.05 * noise, 22_050)
    (root / "pop" / "text.mp3").write_text("not audio at all")
    return root


def test_each_clip_has_the_features_and_figure_of_its_sound(sounds: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "features.parquet", tmp_path / "figures"
    result = export_features(sounds, out, figures=drawn, clip=CLIP, progress=False)
    rows = pq.read_table(out).to_pylist()
    assert [(row["track"], row["start_s"], row["label"], row["error_kind"] is None) for row in rows] == [
        ("pop.00001", 0.0, "pop", True),
        ("pop/text", None, "pop", False),
        ("rock/long", 0.0, "rock", True),
        ("rock/long", 2.0, "rock", True),
        ("rock.00000", 0.0, "rock", True),
    ]
    assert sum(result.failed.values()) == 1
    ((_, samples),) = audio.read_clips(sounds / "rock" / "rock.00000.wav", clip=CLIP)
    np.testing.assert_allclose(
        [rows[-1][name] for name in FEATURE_COLUMNS], features.extract(samples, tail="dropped"), rtol=1e-6
    )
    assert (rows[-1]["filename"], rows[-1]["length"]) == ("rock.00000.wav", 44_100)
    names = {str(path.relative_to(drawn)) for path in drawn.rglob("*.png")}
    folder = "images_original/rock"
    assert names == {
        "images_original/pop/pop00001.png",
        f"{folder}/rock_long.png",
        f"{folder}/rock_long.1.png",
        f"{folder}/rock00000.png",
    }
    figure = spectrogram.from_figure(drawn / folder / "rock00000.png")
    np.testing.assert_array_equal(figure, spectrogram.from_audio(samples, form="plot"))


def test_without_figures_the_numbers_are_the_same(sounds: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    export_features(sounds, one, clip=CLIP, progress=False)
    export_features(sounds, two, clip=CLIP, figures=tmp_path / "figures", progress=False)
    numbers = [pq.read_table(out).drop_columns([MADE_FROM]) for out in (one, two)]
    assert numbers[0].equals(numbers[1])
