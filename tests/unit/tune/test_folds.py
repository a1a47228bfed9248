"""Folds of a search: every track once, copies never apart, artists together unless the protocol itself parts them."""

import warnings
from collections import Counter

import pytest

from genre_ray.config import parse
from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split
from genre_ray.errors import SplitError
from genre_ray.schema import Track
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.folds import search_parts, trial_parts

TRACKS = tuple(
    Track(id=f"{genre}.{number:02d}", label=genre, artist=f"{genre} {number // 4}")
    for genre in "ab"
    for number in range(24)
)
COPIES = (("a.00", "a.23"), ("b.01", "b.13"))
CATALOG = Catalog(TRACKS, ("a", "b"), (), "memory", "manifest", COPIES)
IDS = tuple(track.id for track in TRACKS)
SPLIT = Split("paper", IDS[:20] + IDS[24:44], IDS[20:23] + IDS[44:47], IDS[23:24] + IDS[47:])


def crossing(parts, key):
    """How many groups of validation tracks are also trained on."""
    return sum(len({key(t) for t in train} & {key(t) for t in validation}) for train, validation in parts)


def artist(track):
    return CATALOG.by_id[track].artist


def copy(track):
    return next((group for group in COPIES if track in group), track)


@pytest.mark.parametrize("by_artist", [True, False])
def test_every_track_of_train_and_validation_is_held_out_once(by_artist):
    parts = trial_parts(CATALOG, SPLIT, folds=3, seed=1, by_artist=by_artist)
    held_out = Counter(track for _, validation in parts for track in validation)
    assert held_out == Counter(SPLIT.train + SPLIT.validation)
    assert not set(held_out) & set(SPLIT.test)
    assert all(not set(train) & set(validation) for train, validation in parts)
    assert crossing(parts, copy) == 0
    assert (crossing(parts, artist) == 0) == by_artist


@pytest.mark.parametrize(
    ("folds_by", "protocol", "together"),
    [("artist", "paper", True), ("protocol", "paper", False), ("protocol", "artist-cv", True)],
)
def test_the_protocol_decides_where_it_is_asked_to(folds_by, protocol, together):
    search = {"name": "x", "protocol": {"name": protocol}, "search": {"folds": 3, "folds_by": folds_by}}
    config = parse(TuneConfig, search, origin="test")
    assert (crossing(search_parts(config, CATALOG, SPLIT), artist) == 0) == together


def small(per_genre: dict[str, int]) -> Catalog:
    tracks = tuple(Track(id=f"{genre}.{i:02d}", label=genre) for genre, n in per_genre.items() for i in range(n))
    return Catalog(tracks, tuple(per_genre), (), "memory", "folders")


@pytest.mark.parametrize(("per_genre", "folds", "possible"), [({"a": 3, "b": 3}, 5, 3), ({"a": 2, "b": 30}, 3, 2)])
def test_too_few_tracks_for_the_folds_are_refused_with_a_number_that_is_enough(per_genre, folds, possible):
    catalog = small(per_genre)
    split = Split("custom", tuple(catalog.by_id), (), ())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SplitError, match=f"set search.folds to {possible},") as caught:
            trial_parts(catalog, split, folds=folds, seed=1)
    assert f"{per_genre['a']} tracks of a in train" in str(caught.value)
    assert len(trial_parts(catalog, split, folds=possible, seed=1)) == possible


def test_a_genre_of_one_artist_leaves_the_validation_part():
    catalog = small({"a": 1, "b": 9})
    with pytest.raises(SplitError, match=r"set search\.folds to 1"):
        trial_parts(catalog, Split("custom", tuple(catalog.by_id), (), ()), folds=3, seed=1)


def test_one_fold_is_the_validation_part():
    assert trial_parts(CATALOG, SPLIT, folds=1, seed=1) == [(SPLIT.train, SPLIT.validation)]
