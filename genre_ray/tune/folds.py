"""Train and validation tracks of a trial: the split's validation part, or folds of train + validation.

Never touches the test part. Knows nothing about Ray or Optuna.
"""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split, groups

Part = tuple[tuple[str, ...], tuple[str, ...]]
"""Train and validation track ids."""


def trial_parts(catalog: Catalog, split: Split, *, folds: int, seed: int) -> list[Part]:
    """One pair for one fold; otherwise stratified folds of train + validation that keep artists and copies together."""
    if folds == 1:
        return [(split.train, split.validation)]
    tracks = split.train + split.validation
    labels = [catalog.by_id[track].label for track in tracks]
    grouping = groups(catalog)
    cutter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    pairs = cutter.split(np.zeros(len(tracks)), labels, [grouping[track] for track in tracks])
    return [(tuple(tracks[i] for i in train), tuple(tracks[i] for i in validation)) for train, validation in pairs]
