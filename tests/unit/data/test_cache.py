"""Keys name content and config, nothing else; what a store holds is found again."""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_ray.config import ClipConfig, FeatureConfig, InputConfig, SpectrogramConfig
from genre_ray.data.cache import (
    EXTRACTION_VERSION,
    Extraction,
    clip_store,
    default_location,
    places,
    preparation_key,
    track_keys,
)
from genre_ray.data.catalog import Catalog
from genre_ray.data.shards import complete, cut
from genre_ray.data.store import Store
from genre_ray.preprocessing import extract
from genre_ray.schema import FEATURE_COLUMNS, Track
from genre_ray.spectrogram import figure_from_levels

PLOT = InputConfig()
EXPECTED_OF_VERSION = {
    1: {
        "rms_mean": 0.291548,
        "spectral_centroid_mean": 796.0555,
        "rolloff_mean": 1936.6466,
        "zero_crossing_rate_mean": 0.040579,
        "tempo": 60.09266,
        "mfcc1_mean": -480.1666,
        "mfcc20_mean": -1.451352,
    }
}
MEAN_LEVEL_OF_VERSION = {1: 7.608}


def catalog(*tracks: Track, digests: dict[str, str] | None = None) -> Catalog:
    return Catalog(tracks=tracks, labels=("a", "b"), faults=(), root="test", kind="folders", digests=digests or {})


@pytest.mark.parametrize(
    "other",
    [
        InputConfig(spectrogram=SpectrogramConfig(normalisation="none")),
        InputConfig(features=FeatureConfig(scaling="quantile")),
        InputConfig(spectrogram=SpectrogramConfig(size=64)),
        InputConfig(descriptors=True),
    ],
)
def test_what_comes_after_extraction_does_not_change_the_key(other: InputConfig) -> None:
    assert preparation_key(other) == preparation_key(PLOT)


@pytest.mark.parametrize(
    "other",
    [
        InputConfig(spectrogram=SpectrogramConfig(form="figure")),
        InputConfig(spectrogram=SpectrogramConfig(form="figure", size=64)),
        InputConfig(spectrogram=None),
        InputConfig(features=None),
        InputConfig(clip=ClipConfig(duration_s=3.0)),
    ],
)
def test_what_extraction_sees_changes_the_key(other: InputConfig) -> None:
    assert preparation_key(other) != preparation_key(PLOT)


def test_the_version_of_extraction_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preparation_key(PLOT)
    monkeypatch.setattr("genre_ray.data.cache.EXTRACTION_VERSION", 1_000)
    assert preparation_key(PLOT) != before


def test_a_version_of_extraction_gives_what_it_always_gave() -> None:
    """Where this fails although extraction is right, EXTRACTION_VERSION must go up with the new values."""
    y, x = np.mgrid[0:128, 0:334]
    drawn = ((x + 2 * y) % 256).astype(np.uint8)[np.newaxis]
    stream = io.BytesIO()
    figure_from_levels(drawn).save(stream, "PNG")
    (clip,) = extract(Track(id="f", figure=stream.getvalue(), features=np.arange(57.0)), PLOT)
    np.testing.assert_array_equal(clip.spectrogram, drawn)
    t = np.arange(22_050) / 22_050
    sound = 0.4 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 1760 * t * (1 + 0.1 * t))
    stream = io.BytesIO()
    soundfile.write(stream, sound, 22_050, format="WAV", subtype="FLOAT")
    (clip,) = extract(Track(id="a", audio=stream.getvalue()), PLOT)
    found = dict(zip(FEATURE_COLUMNS, clip.features, strict=True))
    expected = EXPECTED_OF_VERSION[EXTRACTION_VERSION]
    assert {name: pytest.approx(found[name], rel=1e-3) for name in expected} == expected
    assert float(clip.spectrogram.mean()) == pytest.approx(MEAN_LEVEL_OF_VERSION[EXTRACTION_VERSION], abs=0.5)


def test_a_digest_names_a_track_wherever_it_lies() -> None:
    here = catalog(Track(id="x", label="a", audio="/here/x.wav"), digests={"x": "d1"})
    there = catalog(Track(id="x", label="a", audio="/there/x.wav"), digests={"x": "d1"})
    changed = catalog(Track(id="x", label="a", audio="/here/x.wav"), digests={"x": "d2"})
    relabelled = catalog(Track(id="x", label="b", audio="/here/x.wav"), digests={"x": "d1"})
    assert track_keys(here) == track_keys(there)
    assert len({track_keys(each)[0] for each in (here, changed, relabelled)}) == 3


def test_a_track_without_a_digest_counts_by_its_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"sound")
    track = Track(id="x", label="a", audio=path, features=np.zeros(57))
    keys = [track_keys(catalog(track))]
    keys.append(track_keys(catalog(replace(track, features=np.ones(57)))))
    os.utime(path, (1.0, 1.0))
    keys.append(track_keys(catalog(track)))
    path.unlink()
    keys.append(track_keys(catalog(track)))
    assert len({key for (key,) in keys}) == 4
    assert track_keys(catalog(track)) == keys[-1]


def test_bytes_count_by_their_content() -> None:
    one, two, again = (track_keys(catalog(Track(id="x", figure=content))) for content in (b"one", b"two", b"one"))
    assert one == again != two


def test_errors_that_may_pass_are_tried_again_and_lasting_ones_are_not(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "cache"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    tracks = [
        Track(id="gone", figure=tmp_path / "gone.png", features=np.zeros(57)),
        Track(id="broken", figure=broken, features=np.zeros(57)),
    ]
    work = Extraction(PLOT)
    entries = complete(cut([(track, "k") for track in tracks], size=9)[0], work.open(), work, store, run="cache")
    assert {entry.track: entry.kind for entry in entries} == {"gone": "not_found", "broken": "undecodable"}
    assert set(places(store)) == {("broken", "k")}


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRE_RAY_CACHE", "/somewhere")
    assert clip_store(None, PLOT).location == f"/somewhere/clips/{preparation_key(PLOT)}"
    assert clip_store("s3://b/c?region=r", PLOT).location == f"s3://b/c/clips/{preparation_key(PLOT)}?region=r"
    monkeypatch.delenv("GENRE_RAY_CACHE")
    assert default_location() == str(Path.home() / ".cache" / "genre_ray")
