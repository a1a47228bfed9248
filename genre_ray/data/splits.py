"""Named protocols that divide a catalog into training, validation and test part, with their leak counts.

Knows nothing about Ray, files of the corpus, or models.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from genre_ray.data import gtzan
from genre_ray.data.catalog import Catalog
from genre_ray.data.fair_share import fair_share
from genre_ray.data.leaks import Leaks, Split, count_leaks, groups
from genre_ray.data.part_lists import read_part_list, split_column
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.errors import SplitError

__all__ = ["Leaks", "ProtocolConfig", "Split", "make_splits"]


def make_splits(catalog: Catalog, protocol: ProtocolConfig) -> list[Split]:
    """The divisions of `catalog` that `protocol` asks for: one, or one for each fold.

    The validation part is carved out of what the test part leaves, stratified, and with artists and exact copies kept
    on one side even in `paper` and `random-cv`: a search that validates on an artist that it trains on picks what
    remembers artists best. The test part itself stays as the protocol has it. Raises SplitError if the tracks at hand
    cannot satisfy the protocol.
    """
    if len(catalog.labels) < 2:
        raise SplitError(
            f"protocol {protocol.name}: nothing to tell apart",
            found=f"the only genre {catalog.labels[0]}" if catalog.labels else "no genre",
            expected="tracks of at least two genres",
            remedy="name the folder that holds the genre folders",
        )
    make: dict[str, Callable[[Catalog, ProtocolConfig], list[Split]]] = {
        "paper": _paper,
        "random-cv": _cross_validation,
        "artist-cv": _cross_validation,
        "filtered": _filtered,
        "custom": _custom,
    }
    return make[protocol.name](catalog, protocol)


def _paper(catalog: Catalog, protocol: ProtocolConfig) -> list[Split]:
    """The report's split: `train_test_split(test_size=0.2, random_state=42, stratify=y)` on the tracks in id order."""
    _require_per_genre(catalog, 3, "one for each part")
    ids = [track.id for track in catalog.tracks]
    labels = [track.label for track in catalog.tracks]
    try:
        rest, test = train_test_split(
            ids, test_size=protocol.test_fraction, random_state=protocol.seed, stratify=labels
        )
    except ValueError as error:
        raise SplitError(
            f"protocol paper: {len(ids)} tracks cannot be divided",
            found=str(error),
            remedy="raise protocol.test_fraction, or give more tracks",
        ) from error
    return [_carved(catalog, protocol, "paper", rest, test, protocol.seed)]


def _cross_validation(catalog: Catalog, protocol: ProtocolConfig) -> list[Split]:
    grouping = groups(catalog)
    by_artist = protocol.name == "artist-cv"
    if by_artist:
        _require_artists(catalog, grouping, protocol.folds)
    else:
        _require_per_genre(catalog, max(3, protocol.folds), "one for each fold")
    ids = np.array([track.id for track in catalog.tracks])
    labels = np.array([track.label for track in catalog.tracks])
    members = np.array([grouping[key] for key in ids]) if by_artist else None
    kind = StratifiedGroupKFold if by_artist else StratifiedKFold
    splits = []
    for repeat in range(protocol.repeats):
        seed = (protocol.seed + repeat) % 2**32
        again = f", repeat {repeat + 1}/{protocol.repeats}" if protocol.repeats > 1 else ""
        folds = kind(n_splits=protocol.folds, shuffle=True, random_state=seed).split(ids, labels, members)
        for number, (rest, test) in enumerate(folds, start=1):
            name = f"{protocol.name}[{number}/{protocol.folds}{again}]"
            splits.append(_carved(catalog, protocol, name, ids[rest].tolist(), ids[test].tolist(), seed))
    return splits


def _filtered(catalog: Catalog, protocol: ProtocolConfig) -> list[Split]:
    """GTZAN's fault-filtered, artist-aware lists (Kereliuk, Sturm and Larsen 2015)."""
    if catalog.kind != "gtzan":
        raise SplitError(
            "protocol filtered: its lists are of GTZAN's tracks",
            found=f"{catalog.root}, which is not GTZAN",
            remedy="take artist-cv, random-cv, or custom with your own lists",
        )
    parts = {part: gtzan.filtered(part) for part in ("train", "validation", "test")}
    return [_listed(catalog, protocol, parts)]


def _custom(catalog: Catalog, protocol: ProtocolConfig) -> list[Split]:
    if protocol.train_list is not None and protocol.test_list is not None:
        lists = {"train": protocol.train_list, "validation": protocol.validation_list, "test": protocol.test_list}
        parts = {part: read_part_list(path) for part, path in lists.items() if path is not None}
    else:
        parts = split_column(catalog)
    return [_listed(catalog, protocol, parts)]


def _listed(catalog: Catalog, protocol: ProtocolConfig, parts: Mapping[str, Sequence[str]]) -> Split:
    """The parts as they are listed, less what the catalog has not; a validation part that is not listed is carved."""
    counts = Counter(key for part in parts.values() for key in set(part))
    twice = sorted(key for key, count in counts.items() if count > 1)
    if twice:
        raise SplitError(
            f"protocol {protocol.name}: {len(twice)} tracks are in two parts",
            found=", ".join(twice[:5]),
            remedy="each track belongs to one part",
        )
    here = {name: _in_order(catalog, part) for name, part in parts.items()}
    absent = tuple(sorted(counts.keys() - catalog.by_id.keys()))
    for name, part in here.items():
        if not part:
            raise SplitError(
                f"protocol {protocol.name}: no track of the {name} part is in the catalog",
                found=f"{len(parts[name])} listed, e.g. {', '.join(parts[name][:3])}",
                expected=f"ids such as {catalog.tracks[0].id}",
                remedy="list one track id or file name a line, as the catalog has them",
            )
    if "validation" not in here:
        return replace(
            _carved(catalog, protocol, protocol.name, here["train"], here["test"], protocol.seed), absent=absent
        )
    return _finished(catalog, protocol.name, here["train"], here["validation"], here["test"], absent)


def _carved(
    catalog: Catalog, protocol: ProtocolConfig, name: str, rest: Sequence[str], test: Sequence[str], seed: int
) -> Split:
    """The split whose validation part is taken from `rest`."""
    validation = fair_share(catalog, rest, protocol.validation_fraction, seed)
    return _finished(catalog, name, [key for key in rest if key not in validation], validation, test)


def _finished(
    catalog: Catalog,
    name: str,
    train: Iterable[str],
    validation: Iterable[str],
    test: Iterable[str],
    absent: tuple[str, ...] = (),
) -> Split:
    split = Split(
        name=name,
        train=_in_order(catalog, train),
        validation=_in_order(catalog, validation),
        test=_in_order(catalog, test),
        absent=absent,
    )
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    lacking = sorted(set(catalog.labels) - {str(catalog.by_id[key].label) for key in split.train})
    empty = [part for part, ids in parts.items() if not ids]
    if lacking or empty:
        raise SplitError(
            f"protocol {name}: a part lacks tracks",
            found=f"no track of {', '.join(lacking)} in training" if lacking else f"nothing in {', '.join(empty)}",
            remedy="give more tracks, or take a protocol with fewer folds or smaller parts",
        )
    used = {*split.train, *split.validation, *split.test}
    return replace(
        split,
        leaks=count_leaks(catalog, split.train + split.validation, split.test),
        unused=tuple(track.id for track in catalog.tracks if track.id not in used),
    )


def _in_order(catalog: Catalog, ids: Iterable[str]) -> tuple[str, ...]:
    wanted = set(ids)
    return tuple(track.id for track in catalog.tracks if track.id in wanted)


def _require_per_genre(catalog: Catalog, least: int, why: str) -> None:
    counts = Counter(str(track.label) for track in catalog.tracks)
    few = [f"{label} {count}" for label, count in counts.items() if count < least]
    if few:
        raise SplitError(
            "a genre has too few tracks",
            found=f"{', '.join(few)}",
            expected=f"at least {least} tracks of each genre, {why}",
            remedy="give more tracks of it, leave the genre out, or take fewer folds",
        )


def _require_artists(catalog: Catalog, grouping: Mapping[str, str], folds: int) -> None:
    if not any(track.artist for track in catalog.tracks):
        raise SplitError(
            "protocol artist-cv: no artist is known",
            found=f"{catalog.root} names no artists",
            expected="an artist for the tracks",
            remedy="give a manifest.csv with a column artist, or take random-cv",
        )
    members: dict[str, set[str]] = {}
    for track in catalog.tracks:
        members.setdefault(str(track.label), set()).add(grouping[track.id])
    few = [f"{label} {len(names)}" for label, names in members.items() if len(names) < folds]
    if few:
        raise SplitError(
            "protocol artist-cv: a genre has too few artists",
            found=", ".join(few),
            expected=f"at least {folds} artists of each genre for {folds} folds",
            remedy="take fewer folds, or random-cv",
        )
