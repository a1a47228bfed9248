"""Train and validation tracks of a trial: the split's validation part, or folds of train + validation.

Never touches the test part. Knows nothing about Ray or Optuna.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split, groups
from genre_ray.errors import SplitError
from genre_ray.tune.config import TuneConfig

Part = tuple[tuple[str, ...], tuple[str, ...]]
"""Train and validation track ids."""

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The same as places among the tracks of both."""


def trial_parts(catalog: Catalog, split: Split, *, folds: int, seed: int, by_artist: bool = True) -> list[Part]:
    """One pair for one fold; otherwise stratified folds of train + validation: copies (and artists) stay together.

    SplitError where a fold would be without a genre.
    """
    if folds == 1:
        return [(split.train, split.validation)]
    tracks = split.train + split.validation
    labels = [catalog.by_id[track].label for track in tracks]
    grouping = groups(catalog) if by_artist else _copies(catalog)
    together = [grouping[track] for track in tracks]
    pairs = _cut(labels, together, folds, seed)
    if pairs is None:
        raise _too_few(labels, together, folds, seed)
    return [(tuple(tracks[i] for i in train), tuple(tracks[i] for i in validation)) for train, validation in pairs]


def _cut(labels: Sequence[str | None], together: Sequence[str], folds: int, seed: int) -> list[Rows] | None:
    """Rows of train and validation of each fold; None where a fold would be without a genre in one of them."""
    cutter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a genre with fewer tracks than folds, looked at below
            pairs = list(cutter.split(np.zeros(len(labels)), labels, together))
    except ValueError:  # fewer groups, or fewer tracks of every genre, than folds
        return None
    every = set(labels)
    return pairs if all({labels[i] for i in rows} == every for pair in pairs for rows in pair) else None


def _too_few(labels: Sequence[str | None], together: Sequence[str], folds: int, seed: int) -> SplitError:
    apart = {label: {group for own, group in zip(labels, together, strict=True) if own == label} for label in labels}
    least = min(apart, key=lambda label: (len(apart[label]), str(label)))
    possible = next((n for n in range(folds - 1, 1, -1) if _cut(labels, together, n, seed) is not None), 1)
    return SplitError(
        f"search.folds: not each of {folds} folds would have tracks of every genre to train on and to validate on",
        found=f"{labels.count(least)} tracks of {least} in train + validation, {len(apart[least])} that may be parted"
        " (copies stay together, and artists where they are kept apart)",
        remedy=f"set search.folds to {possible}, or give more tracks",
    )


def search_parts(config: TuneConfig, catalog: Catalog, split: Split) -> list[Part]:
    """The parts of every trial of a search."""
    search = config.search
    apart = search.folds_by == "artist" or config.protocol.name in ("artist-cv", "filtered", "custom")
    return trial_parts(catalog, split, folds=search.folds, seed=search.seed, by_artist=apart)


def _copies(catalog: Catalog) -> dict[str, str]:
    leaders = {key: group[0] for group in catalog.duplicate_groups for key in group}
    return {track.id: leaders.get(track.id, track.id) for track in catalog.tracks}
