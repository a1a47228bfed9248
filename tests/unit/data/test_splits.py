from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from sklearn.model_selection import train_test_split

from genre_ray.config import parse
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.faults import merged
from genre_ray.data.leaks import Split, groups
from genre_ray.data.splits import ProtocolConfig, make_splits
from genre_ray.errors import ConfigError, SplitError
from genre_ray.schema import Track


def catalog(
    per_genre: int = 30,
    per_artist: int = 3,
    genres: str = "abc",
    copies: tuple[tuple[str, ...], ...] = (),
    **split: str,
) -> Catalog:
    """Tracks a.000, a.001, ...; `per_artist` in a row are of one artist, none has an artist if it is 0."""
    tracks = tuple(
        Track(
            id=f"{genre}.{number:03d}",
            label=genre,
            artist=f"{genre} {number // per_artist}" if per_artist else None,
            split=split.get(f"{genre}_{number:03d}"),
        )
        for genre in genres
        for number in range(per_genre)
    )
    return Catalog(tracks, tuple(genres), (), "memory", "manifest", copies)


def protocol(**settings: object) -> ProtocolConfig:
    return parse(ProtocolConfig, settings, origin="test")


def check_parts(split: Split, whole: Catalog) -> None:
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(whole)
    assert all(parts)


def artists(split_part: tuple[str, ...], whole: Catalog) -> set[str | None]:
    return {whole.by_id[key].artist for key in split_part}


def counts(part: tuple[str, ...], whole: Catalog) -> Mapping[str | None, int]:
    return Counter(whole.by_id[key].label for key in part)


def test_paper_is_the_split_of_scikit_learn_on_the_tracks_in_id_order() -> None:
    whole = catalog()
    (split,) = make_splits(whole, protocol(name="paper"))
    ids = sorted(track.id for track in whole.tracks)
    _, expected = train_test_split(ids, test_size=0.2, random_state=42, stratify=[key[0] for key in ids])
    assert split.name == "paper"
    assert split.test == tuple(sorted(expected))
    check_parts(split, whole)


@pytest.mark.parametrize("name", ["paper", "random-cv", "artist-cv"])
def test_the_validation_part_shares_neither_artist_nor_copy_with_training(name: str) -> None:
    whole = catalog(copies=(("a.000", "a.020"), ("b.003", "c.011")))
    for split in make_splits(whole, protocol(name=name)):
        check_parts(split, whole)
        assert not artists(split.train, whole) & artists(split.validation, whole)
        for group in whole.duplicate_groups:
            assert not (set(group) & set(split.train) and set(group) & set(split.validation))
        share = len(split.validation) / (len(split.train) + len(split.validation))
        assert share == pytest.approx(0.15, abs=0.06)  # whole groups of three
        assert set(counts(split.validation, whole)) == {"a", "b", "c"}


def test_random_cv_tests_each_track_once_and_stratified() -> None:
    whole = catalog()
    splits = make_splits(whole, protocol(name="random-cv"))
    assert [split.name for split in splits] == [f"random-cv[{number}/5]" for number in range(1, 6)]
    assert sorted(key for split in splits for key in split.test) == [track.id for track in whole.tracks]
    assert {tuple(counts(split.test, whole).values()) for split in splits} == {(6, 6, 6)}


def test_a_genre_with_an_only_artist_is_divided_by_tracks() -> None:
    whole = catalog(per_genre=20, per_artist=20)
    (split,) = make_splits(whole, protocol())
    check_parts(split, whole)
    assert counts(split.validation, whole) == {"a": 2, "b": 2, "c": 2}


def test_repeats_are_other_divisions_and_named() -> None:
    splits = make_splits(catalog(), protocol(name="random-cv", folds=3, repeats=2))
    assert [split.name for split in splits][3] == "random-cv[1/3, repeat 2/2]"
    assert splits[0].test != splits[3].test


def test_artist_cv_keeps_artists_and_copies_on_one_side() -> None:
    whole = catalog(copies=(("a.000", "a.020"),))
    splits = make_splits(whole, protocol(name="artist-cv"))
    assert sorted(key for split in splits for key in split.test) == [track.id for track in whole.tracks]
    for split in splits:
        assert not artists(split.test, whole) & artists(split.train + split.validation, whole)
        assert split.leaks.artists_crossing == split.leaks.duplicates_crossing == 0
        assert split.leaks.artist_known == len(split.test)


def test_a_track_without_artist_is_a_group_of_its_own_and_joined_to_its_copies() -> None:
    whole = catalog(per_genre=4, per_artist=0, copies=(("a.000", "a.001"), ("a.003", "b.000")))
    grouping = groups(whole)
    assert grouping["a.000"] == grouping["a.001"] != grouping["a.002"]
    assert grouping["a.003"] == grouping["b.000"]
    assert len(set(grouping.values())) == 10


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    first, again, other = (make_splits(catalog(), protocol(name="artist-cv", seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert [split.test for split in first] != [split.test for split in other]


def test_leaks_count_test_tracks_and_crossing_pairs() -> None:
    marks = dict.fromkeys(("a_000", "a_001", "b_000", "b_001"), "test")
    marks |= {f"{genre}_{number:03d}": "train" for genre in "ab" for number in range(2, 10)}
    whole = catalog(10, 3, "ab", copies=(("a.000", "a.001", "a.005"), ("b.004", "b.005")), **marks)
    (split,) = make_splits(whole, protocol(name="custom"))
    assert split.test == ("a.000", "a.001", "b.000", "b.001")
    leaks = split.leaks
    assert (leaks.test_tracks, leaks.artist_known, leaks.artists_crossing, leaks.test_artists) == (4, 4, 4, 2)
    assert (leaks.duplicates_crossing, leaks.duplicate_pairs) == (2, 4)
    assert leaks.describe() == (
        "4 of 4 test tracks share an artist with training (artist known for 4); 2 of 4 duplicate pairs cross"
    )
    faults = {fault.kind: fault.tracks for fault in split.faults(whole)}
    assert faults == {"artist-crosses-split": split.test, "duplicate-crosses-split": ("a.000", "a.001")}


def test_unknown_artists_are_said_to_be_unknown() -> None:
    (split,) = make_splits(catalog(per_artist=0), protocol())
    assert "artists unknown" in split.leaks.describe()


def test_custom_lists_take_ids_and_file_names(tmp_path: Path) -> None:
    whole = catalog(10, 1, "ab")
    (tmp_path / "train.txt").write_text("# mine\n" + "".join(f"{g}.{n:03d}\n" for g in "ab" for n in range(6)))
    (tmp_path / "validation.txt").write_text("a.006.wav\nb.006.wav\n\n")
    (tmp_path / "test.txt").write_text("a.007\r\nb.007\r\nb.555\r\n")
    lists = {f"{part}_list": str(tmp_path / f"{part}.txt") for part in ("train", "validation", "test")}
    (split,) = make_splits(whole, protocol(name="custom", **lists))
    assert (len(split.train), split.validation, split.test) == (12, ("a.006", "b.006"), ("a.007", "b.007"))
    assert split.absent == ("b.555",)
    assert split.unused == ("a.008", "a.009", "b.008", "b.009")
    assert "1 listed is not in the catalog (b.555); 4 tracks are in no part (a.008, a.009, b.008 and 1 more)" in (
        split.describe()
    )


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(
        b"\xef\xbb\xbf" + "".join(f"{g}.00{n}\n" for g in "ab" for n in "0123").encode()
    )
    (tmp_path / "test.txt").write_text("a.007\nb.007\n")
    lists = {f"{part}_list": str(tmp_path / f"{part}.txt") for part in ("train", "test")}
    (split,) = make_splits(catalog(10, 1, "ab"), protocol(name="custom", **lists))
    assert split.absent == ()


def test_a_track_without_a_part_in_the_manifest_is_told() -> None:
    marks = {f"{genre}_{number:03d}": "train" for genre in "ab" for number in range(2, 9)}
    (split,) = make_splits(catalog(10, 3, "ab", **marks, a_000="test", b_000="test"), protocol(name="custom"))
    assert split.unused == ("a.001", "a.009", "b.001", "b.009")
    assert "in no part" not in make_splits(catalog(), protocol())[0].describe()


def test_faults_of_several_folds_are_one_of_a_kind() -> None:
    whole = catalog(30, 3, "ab")
    splits = make_splits(whole, protocol(name="random-cv"))
    (found,) = merged(fault for split in splits for fault in split.faults(whole))
    assert found.kind == "artist-crosses-split"
    assert found.action == "kept; counted beside every score"


def test_without_a_validation_list_it_is_carved_out_of_training(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{g}.{n:03d}\n" for g in "ab" for n in range(8)))
    (tmp_path / "test.txt").write_text("a.008\nb.008\n")
    lists = {f"{part}_list": str(tmp_path / f"{part}.txt") for part in ("train", "test")}
    (split,) = make_splits(catalog(10, 1, "ab"), protocol(name="custom", **lists))
    assert (len(split.train), len(split.validation), split.test) == (14, 2, ("a.008", "b.008"))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a.000\nb.000\n", "a.000\n", "1 tracks are in two parts; found: a.000"),
        ("a.000\nb.000\na.001\nb.001\n", "z.000\n", "no track of the test part.*expected: ids such as a.000"),
        ("a.000\na.001\na.002\n", "b.000\n", "no track of b in training"),
    ],
)
def test_lists_that_make_no_split_are_refused(tmp_path: Path, train: str, test: str, message: str) -> None:
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "test.txt").write_text(test)
    lists = {f"{part}_list": str(tmp_path / f"{part}.txt") for part in ("train", "test")}
    with pytest.raises(SplitError, match=message):
        make_splits(catalog(10, 1, "ab"), protocol(name="custom", **lists))


@pytest.mark.parametrize(
    ("whole", "settings", "message"),
    [
        (catalog(genres="a"), {}, "the only genre a.*remedy: name the folder that holds the genre folders"),
        (catalog(per_genre=2), {}, "a 2, b 2, c 2; expected: at least 3"),
        (catalog(per_genre=4), {"test_fraction": 0.1}, "12 tracks cannot be divided"),
        (catalog(per_genre=4), {"name": "random-cv"}, "at least 5 tracks of each genre"),
        (catalog(per_artist=0), {"name": "artist-cv"}, "no artist is known.*column artist"),
        (catalog(per_artist=10), {"name": "artist-cv"}, "a 3, b 3, c 3; expected: at least 5 artists"),
        (catalog(), {"name": "filtered"}, "which is not GTZAN"),
        (catalog(), {"name": "custom"}, "no column split|no lists"),
        (catalog(a_000="holdout"), {"name": "custom"}, "a.000 has an unknown part; found: split 'holdout'"),
        (catalog(), {"name": "custom", "train_list": "absent.txt", "test_list": "absent.txt"}, "cannot be read"),
    ],
)
def test_a_protocol_that_the_tracks_cannot_satisfy_is_refused(
    whole: Catalog, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SplitError, match=message):
        make_splits(whole, protocol(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "papre"}, "name.*papre"),
        ({"fold": 5}, "fold: Extra inputs"),
        ({"folds": 1}, "folds.*greater than or equal to 2"),
        ({"test_fraction": 1.0}, "test_fraction"),
        ({"train_list": "a.txt"}, "can only be given with name custom, not paper"),
        ({"name": "custom", "test_list": "a.txt"}, "needs train_list and test_list"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        protocol(**settings)


def test_gtzan_paper_split_of_the_figures_leaks_as_counted(real_catalog: Catalog) -> None:
    (split,) = make_splits(real_catalog, protocol())
    leaks = split.leaks
    assert len(split.test) == leaks.test_tracks == 200
    assert (leaks.artist_known, leaks.artists_crossing) == (184, 162)
    assert (leaks.duplicates_crossing, leaks.duplicate_pairs) == (5, 14)


def test_gtzan_paper_split_of_all_1000_rows_leaks_166_artists_and_4_pairs(real_gtzan: Path) -> None:
    (split,) = make_splits(open_catalog(real_gtzan, need=["features"], verify=False), protocol())
    assert (split.leaks.artists_crossing, split.leaks.duplicates_crossing) == (166, 4)


def test_gtzan_filtered_split_has_442_usable_training_tracks_and_leaks_nothing(real_catalog: Catalog) -> None:
    (split,) = make_splits(real_catalog, protocol(name="filtered"))
    assert (len(split.train), len(split.validation), len(split.test)) == (442, 197, 290)
    assert split.absent == ("jazz.00054",)
    assert (split.leaks.artists_crossing, split.leaks.duplicates_crossing) == (0, 0)


def test_gtzan_artist_folds_leak_nothing(real_catalog: Catalog) -> None:
    splits = make_splits(real_catalog, protocol(name="artist-cv"))
    assert sum(len(split.test) for split in splits) == 999
    assert [(s.leaks.artists_crossing, s.leaks.duplicates_crossing) for s in splits] == [(0, 0)] * 5
    assert all(len(counts(split.test, real_catalog)) == 10 for split in splits)
