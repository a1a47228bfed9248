from collections import Counter

from genre_ray.data import gtzan
from genre_ray.schema import GENRES


def test_there_are_a_thousand_tracks_a_hundred_a_genre_and_81_without_artist() -> None:
    artists = gtzan.artists()
    assert Counter(key.split(".")[0] for key in artists) == dict.fromkeys(GENRES, 100)
    assert sum(artist is None for artist in artists.values()) == 81


def test_an_artist_is_spelled_in_one_way() -> None:
    def letters(name: str) -> str:
        return "".join(letter for letter in name.lower().replace("&", "and") if letter.isalnum())

    names = {artist for artist in gtzan.artists().values() if artist}
    assert len({letters(name) for name in names}) == len(names) == 242


def test_the_filtered_parts_have_their_sizes_and_share_neither_track_artist_nor_copy() -> None:
    parts = [set(gtzan.filtered(part)) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [443, 197, 290]
    assert len(set.union(*parts)) == 930
    owners = [{gtzan.artists()[key] for key in part} - {None} for part in parts]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert all(len([part for part in parts if part & set(pair)]) <= 1 for pair in gtzan.duplicates())


def test_one_of_the_14_pairs_of_copies_has_two_labels() -> None:
    pairs = gtzan.duplicates()
    assert len(pairs) == 14
    assert [pair for pair in pairs if pair[0].split(".")[0] != pair[1].split(".")[0]] == [("metal.00058", "rock.00016")]


def test_gtzan_is_recognised_by_all_its_genres_and_hardly_a_foreign_track() -> None:
    ids = list(gtzan.artists())
    assert gtzan.is_gtzan(ids[::50])
    assert gtzan.is_gtzan([*ids, "rock.00100", "stray"])
    assert not gtzan.is_gtzan(ids[:900])
    assert not gtzan.is_gtzan([*ids, *(f"polka.{number:05d}" for number in range(100))])
