"""Train and validation tracks of a trial: the split's validation part, or folds of train + validation.

Never touches the test part. Knows nothing about Ray or Optuna.
"""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split, groups
from genre_ray.tune.config import TuneConfig

Part = tuple[tuple[str, ...], tuple[str, ...]]
"""Train and validation track ids."""


def trial_parts(catalog: Catalog, split: Split, *, folds: int, seed: int, by_artist: bool = True) -> list[Part]:
    """One pair for one fold; otherwise stratified folds of train + validation: copies (and artists) stay together."""
    if folds == 1:
        return [(split.train, split.validation)]
    tracks = split.train + split.validation
    labels = [catalog.by_id[track].label for track in tracks]
    grouping = groups(catalog) if by_artist else _copies(catalog)
    cutter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    pairs = cutter.split(np.zeros(len(tracks)), labels, [grouping[track] for track in tracks])
    return [(tuple(tracks[i] for i in train), tuple(tracks[i] for i in validation)) for train, validation in pairs]


def search_parts(config: TuneConfig, catalog: Catalog, split: Split) -> list[Part]:
    """The parts of every trial of a search."""
    search = config.search
    apart = search.folds_by == "artist" or config.protocol.name in ("artist-cv", "filtered", "custom")
    return trial_parts(catalog, split, folds=search.folds, seed=search.seed, by_artist=apart)


def _copies(catalog: Catalog) -> dict[str, str]:
    leaders = {key: group[0] for group in catalog.duplicate_groups for key in group}
    return {track.id: leaders.get(track.id, track.id) for track in catalog.tracks}
