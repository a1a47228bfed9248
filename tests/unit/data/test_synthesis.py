import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_ray.data.catalog import open_catalog
from genre_ray.data.splits import ProtocolConfig, make_splits
from genre_ray.data.synthesis import compose
from genre_ray.data.synthesis.arrangement import perform
from genre_ray.data.synthesis.drums import Kit
from genre_ray.data.synthesis.hand import Hand
from genre_ray.data.synthesis.instruments import INSTRUMENTS
from genre_ray.data.synthesis.recipes import RECIPES
from genre_ray.data.synthesis.waves import envelope, high_pass, low_pass, record, time, tone
from genre_ray.errors import CatalogError
from genre_ray.schema import GENRES, SAMPLE_RATE


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose(tmp_path_factory.mktemp("composed") / "corpus", tracks_per_genre=4, duration_s=2.0, seed=3)


def spectrum(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    return np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE), power


def test_the_corpus_is_written_in_the_layout_of_gtzan_with_its_own_manifest(corpus: Path) -> None:
    assert sorted(path.name for path in corpus.iterdir()) == ["corpus.json", "genres_original", "manifest.csv"]
    for genre in GENRES:
        names = sorted(path.name for path in (corpus / "genres_original" / genre).iterdir())
        assert names == [f"{genre}.{number:05d}.wav" for number in range(4)]
    info = soundfile.info(corpus / "genres_original/jazz/jazz.00003.wav")
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (22_050, 1, "PCM_16", 44_100)


def test_the_catalog_takes_it_for_a_manifest_with_artists_and_without_faults(corpus: Path) -> None:
    catalog = open_catalog(corpus, need=["spectrogram", "features"])
    assert (catalog.kind, catalog.labels, len(catalog), catalog.faults) == ("manifest", GENRES, 40, ())
    assert catalog.by_id["pop.00002"].artist == "pop artist 1"
    assert catalog.by_id["pop.00003"].artist == "pop artist 2"


def test_the_default_size_has_artists_for_five_folds() -> None:
    pieces = {(genre, number // 3) for genre in range(10) for number in range(20)}
    assert len(pieces) / 10 >= ProtocolConfig().folds


def test_two_artist_folds_of_the_corpus_leak_nothing(corpus: Path) -> None:
    splits = make_splits(open_catalog(corpus), ProtocolConfig(name="artist-cv", folds=2))
    assert [split.leaks.artists_crossing for split in splits] == [0, 0]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(corpus: Path, tmp_path: Path) -> None:
    again = compose(tmp_path / "again", tracks_per_genre=1, duration_s=2.0, seed=3)
    other = compose(tmp_path / "other", tracks_per_genre=1, duration_s=2.0, seed=4)
    for genre in GENRES:
        name = f"genres_original/{genre}/{genre}.00000.wav"
        assert (again / name).read_bytes() == (corpus / name).read_bytes() != (other / name).read_bytes()


def test_no_track_is_silent_clipped_or_equal_to_another(corpus: Path) -> None:
    seen = set()
    for path in sorted(corpus.rglob("*.wav")):
        sound, _ = soundfile.read(path, dtype="int16")
        peak = int(np.abs(sound.astype(np.int32)).max())
        assert 0.3 * 32_767 < peak < 32_767, path.name
        assert np.sqrt(np.mean((sound / 32_768) ** 2)) > 0.01, path.name
        seen.add(sound.tobytes())
    assert len(seen) == 40


def test_a_corpus_that_is_there_is_used_again(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert compose(corpus, tracks_per_genre=4, duration_s=2.0, seed=3) == corpus
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_a_corpus_of_other_parameters_or_with_a_hole_is_composed_anew(tmp_path: Path) -> None:
    place = compose(tmp_path / "c", tracks_per_genre=1, duration_s=1.0, seed=0)
    hole = place / "genres_original/metal/metal.00000.wav"
    whole = hole.read_bytes()
    hole.unlink()
    compose(place, tracks_per_genre=1, duration_s=1.0, seed=0)
    assert hole.read_bytes() == whole
    compose(place, tracks_per_genre=1, duration_s=1.0, seed=1)
    assert json.loads((place / "corpus.json").read_text())["seed"] == 1
    assert hole.read_bytes() != whole
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_what_is_not_a_composed_corpus_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "song.wav").write_bytes(b"x")
    with pytest.raises(CatalogError, match="something else is there"):
        compose(tmp_path / "mine", tracks_per_genre=1)
    assert (tmp_path / "mine" / "song.wav").read_bytes() == b"x"


def test_a_corpus_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import genre_ray.data.synthesis.corpus as module

    calls = iter(range(100))

    def render(*_: object) -> bytes:
        if next(calls) == 3:
            raise OSError("no space left on device")
        return b"x"

    monkeypatch.setattr(module, "render", render)
    with pytest.raises(CatalogError, match=r"no space left on device.*make room"):
        compose(tmp_path / "c", tracks_per_genre=2, duration_s=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"tracks_per_genre": 0}, {"duration_s": 0.5}, {"seed": -1}])
def test_a_size_without_sense_is_refused(tmp_path: Path, settings: dict[str, float]) -> None:
    with pytest.raises(CatalogError, match="cannot be composed"):
        compose(tmp_path / "c", **settings)


def test_tracks_of_an_artist_are_nearer_in_tempo_than_those_of_a_genre() -> None:
    def tempo(artist: int, track: int) -> float:
        return Hand(0, 5, artist, track).within("tempo", RECIPES["jazz"].groove.tempo)

    tempi = np.array([[tempo(artist, 3 * artist + track) for track in range(3)] for artist in range(40)])
    assert tempi.std(axis=1).mean() < 0.7 * tempi.std()
    assert tempi.min() >= 84
    assert tempi.max() <= 216


def test_some_artists_borrow_from_a_neighbour_and_most_do_not() -> None:
    rock = RECIPES["rock"]
    blends = [Hand(0, 9, artist, 0).blend("rock", RECIPES) for artist in range(60)]
    borrowed = [sum(getattr(blend, part) != getattr(rock, part) for part in ("drums", "bass")) for blend in blends]
    assert 0 < np.mean(borrowed) < 1
    assert all(blend.neighbours == rock.neighbours for blend in blends)


def test_metal_is_brighter_than_classical_and_has_drums() -> None:
    def centroid(genre: str) -> float:
        values = []
        for artist in range(4):
            sound = perform(Hand(0, GENRES.index(genre), artist, 0), RECIPES[genre], 3.0)
            frequencies, power = spectrum(sound)
            values.append(float((frequencies * power**0.5).sum() / (power**0.5).sum()))
        return float(np.mean(values))

    assert centroid("metal") > 1.3 * centroid("classical")


def test_the_kick_of_disco_falls_on_every_beat() -> None:
    """In a pure recipe the lows of a bar repeat with the beat: the tempo can be read off their autocorrelation."""
    hand = Hand(0, GENRES.index("disco"), 1, 3)
    sound = perform(hand, RECIPES["disco"], 6.0)
    beat_s = 60 / hand.within("tempo", RECIPES["disco"].groove.tempo)
    low = np.abs(low_pass(sound, 90))
    energy = low[: len(low) // 100 * 100].reshape(-1, 100).mean(axis=1)
    onsets = np.maximum(np.diff(energy), 0)
    correlation = np.correlate(onsets - onsets.mean(), onsets - onsets.mean(), "full")[len(onsets) :]
    lags = np.arange(1, len(correlation) + 1) * 100 / SAMPLE_RATE
    near = (lags > 0.75 * beat_s) & (lags < 1.25 * beat_s)
    assert lags[near][np.argmax(correlation[near])] == pytest.approx(beat_s, abs=0.02)


@pytest.mark.parametrize("name", sorted(INSTRUMENTS))
def test_a_note_is_finite_reaches_its_peak_and_ends_in_silence(name: str) -> None:
    frequency = 55.0 if "bass" in name else 330.0
    sound = INSTRUMENTS[name](frequency, 0.4, 0.6, np.random.default_rng(0))
    assert sound.dtype == np.float32
    assert len(sound) == round(0.4 * SAMPLE_RATE)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() == pytest.approx(1, abs=1e-5)
    assert abs(sound[-1]) < 0.02


@pytest.mark.parametrize("name", ["pluck", "piano", "strings", "organ", "electric_piano", "synth", "bass"])
def test_a_note_sounds_at_its_pitch(name: str) -> None:
    """The strongest partial is the fundamental or a small multiple (an organ has a half below, too)."""
    sound = INSTRUMENTS[name](220.0, 0.8, 0.2, np.random.default_rng(0))
    frequencies, power = spectrum(sound)
    ratio = frequencies[np.argmax(power)] / 220
    assert min(abs(ratio - multiple) / multiple for multiple in (0.5, 1, 2, 3)) < 0.02


@pytest.mark.parametrize("drum", ["kick", "snare", "brush", "clap", "rim", "hat", "shaker", "open", "ride", "crash"])
def test_a_stroke_decays(drum: str) -> None:
    sound = Kit(55, 0.1, 190, 0.08, 0.03, 0.5).hit(drum, np.random.default_rng(0))
    tenth = len(sound) // 10
    assert np.square(sound[:tenth]).sum() > 20 * np.square(sound[-tenth:]).sum()


def test_a_tone_has_its_harmonics_with_their_slope() -> None:
    t = time(1.0)
    frequencies, power = spectrum(tone(1000.0, t, 1.0))
    level = [np.sqrt(power[np.abs(frequencies - 1000 * n) < 20].sum()) for n in (1, 2, 4)]
    assert level[0] / level[1] == pytest.approx(2, rel=0.01)
    assert level[0] / level[2] == pytest.approx(4, rel=0.01)
    assert power[frequencies > 9500].sum() < 1e-5 * power.sum()


def test_filters_keep_one_side_and_dampen_the_other() -> None:
    t = time(0.5)
    low, high = (np.sin(2 * np.pi * hz * t).astype(np.float32) for hz in (200, 5000))
    middle = slice(2000, -2000)
    assert np.abs(low_pass(low, 1000)[middle]).max() == pytest.approx(1, abs=0.05)
    assert np.abs(low_pass(high, 1000)[middle]).max() < 0.1
    assert np.abs(high_pass(high, 1000)[middle]).max() == pytest.approx(1, abs=0.1)
    assert np.abs(high_pass(low, 1000)[middle]).max() < 0.1


def test_a_room_adds_a_tail_that_dies_and_none_adds_nothing() -> None:
    click = np.zeros(SAMPLE_RATE, dtype=np.float32)
    click[0] = 1
    wet = record(click, room=0.5, decay_s=0.5, cutoff_hz=10_000, rng=np.random.default_rng(0))
    assert np.square(wet[1000:3000]).sum() > 100 * np.square(wet[8000:10_000]).sum() > 0
    t = time(1.0)
    sine = np.sin(2 * np.pi * 300 * t).astype(np.float32)
    np.testing.assert_allclose(
        record(sine, room=0.0, decay_s=0.3, cutoff_hz=10_000, rng=np.random.default_rng(0))[3000:-3000],
        sine[3000:-3000],
        atol=0.01,
    )


def test_an_envelope_starts_and_ends_at_zero() -> None:
    shape = envelope(time(0.2), 0.05, 0.05)
    assert shape[0] == shape[-1] == 0
    assert shape.max() == 1


def test_every_recipe_names_known_instruments_and_patterns_of_a_bar() -> None:
    for genre, recipe in RECIPES.items():
        assert set(recipe.neighbours) < set(RECIPES) - {genre}
        for part in (recipe.bass, recipe.chords):
            assert set(part.instruments) <= set(INSTRUMENTS)
            assert {len(pattern) for pattern in part.patterns} == {16}
        assert set(recipe.melody.instruments) <= set(INSTRUMENTS)
        for pattern in recipe.drums.patterns:
            assert {len(steps) for steps in pattern.values()} <= {16}
    assert tuple(RECIPES) == GENRES
