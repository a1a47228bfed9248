"""A division of a catalog into parts, and what leaks from training to test. Knows nothing about how it was made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from genre_ray.data.catalog import Catalog
from genre_ray.data.faults import Fault


@dataclass(frozen=True)
class Leaks:
    """What crosses from training and validation to the test part, by artist and by exact copy.

    `artist_known` of the `test_tracks` have a known artist, `artists_crossing` of those have one that is in training
    or validation too. `duplicates_crossing` of the corpus's `duplicate_pairs` have one half on each side.
    """

    test_tracks: int = 0
    artist_known: int = 0
    artists_crossing: int = 0
    test_artists: int = 0
    duplicates_crossing: int = 0
    duplicate_pairs: int = 0

    def describe(self) -> str:
        """One line, to be printed beside a score."""
        if self.artist_known:
            artists = (
                f"{self.artists_crossing} of {self.test_tracks} test tracks share an artist with training "
                f"(artist known for {self.artist_known})"
            )
        else:
            artists = f"{self.test_tracks} test tracks, artists unknown"
        return f"{artists}; {self.duplicates_crossing} of {self.duplicate_pairs} duplicate pairs cross"

    def to_json(self) -> dict[str, int]:
        """The counts."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """One division: ids of the three parts in the order of the catalog, and what leaks.

    `absent` are ids that a list names and the catalog has not, `unused` those of the catalog that are in no part.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    leaks: Leaks = Leaks()
    absent: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line: name, sizes, leaks, and what is left over."""
        sizes = f"{len(self.train)} / {len(self.validation)} / {len(self.test)} tracks"
        left_over = "".join(f"; {part}" for part in self.left_over())
        return f"{self.name}: {sizes} (train / validation / test); {self.leaks.describe()}{left_over}"

    def left_over(self) -> tuple[str, ...]:
        """How many ids of the lists are not in the catalog, and how many of its tracks in no part, with the first."""
        parts = ((self.absent, "listed", "not in the catalog"), (self.unused, "tracks", "in no part"))
        return tuple(
            f"{len(ids)} {noun} {'is' if len(ids) == 1 else 'are'} {what} ({_first(ids)})"
            for ids, noun, what in parts
            if ids
        )

    def faults(self, catalog: Catalog) -> tuple[Fault, ...]:
        """The test tracks that leak, as faults for `Catalog.with_faults`."""
        crossing = _crossing_artists(catalog, self.train + self.validation, self.test)
        test = set(self.test)
        other = {*self.train, *self.validation}
        copies = [k for group in catalog.duplicate_groups if other & set(group) for k in group if k in test]
        action = "kept; counted beside every score"
        found = (("artist-crosses-split", crossing, "artist"), ("duplicate-crosses-split", copies, "copy"))
        return tuple(
            Fault(kind, tuple(tracks), f"{noun} also in training or validation", action)
            for kind, tracks, noun in found
            if tracks
        )


def _first(ids: Sequence[str], shown: int = 3) -> str:
    return ", ".join(ids[:shown]) + f" and {len(ids) - shown} more" * (len(ids) > shown)


def count_leaks(catalog: Catalog, training: Sequence[str], test: Sequence[str]) -> Leaks:
    """Counts for a test part against all that a final fit may see (training and validation)."""
    artists = [artist for key in test if (artist := catalog.by_id[key].artist) is not None]
    seen, held = set(training), set(test)
    return Leaks(
        test_tracks=len(test),
        artist_known=len(artists),
        artists_crossing=len(_crossing_artists(catalog, training, test)),
        test_artists=len(set(artists)),
        duplicates_crossing=sum(len(seen & set(group)) * len(held & set(group)) for group in catalog.duplicate_groups),
        duplicate_pairs=sum(len(group) * (len(group) - 1) // 2 for group in catalog.duplicate_groups),
    )


def groups(catalog: Catalog) -> Mapping[str, str]:
    """A group name for each track id; tracks of one artist and exact copies are in one group.

    A track whose artist is unknown is a group of its own, apart from its copies.
    """
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for track in catalog.tracks:
        if track.artist is not None:
            leader[find(f"track {track.id}")] = find(f"artist {track.artist}")
    for group in catalog.duplicate_groups:
        for key in group[1:]:
            leader[find(f"track {key}")] = find(f"track {group[0]}")
    return {track.id: find(f"track {track.id}") for track in catalog.tracks}


def _crossing_artists(catalog: Catalog, training: Sequence[str], test: Sequence[str]) -> list[str]:
    seen = {catalog.by_id[key].artist for key in training} - {None}
    return [key for key in test if catalog.by_id[key].artist in seen]
