"""Facts about GTZAN that ship with the package: artists, exact copies, centroids, the fault-filtered lists.

Sources are named in `lists/README.md`. Knows nothing about files of the corpus itself.
"""

import csv
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genre_ray.schema import FEATURE_COLUMNS, GENRES

SHORTEST_S, LONGEST_S = 29.9, 30.7
"""Seconds of GTZAN's audio files (660,000 to 675,808 samples at 22,050 Hz)."""

_CENTROID = FEATURE_COLUMNS.index("spectral_centroid_mean")

Part = Literal["train", "validation", "test"]


@cache
def artists() -> MappingProxyType[str, str | None]:
    """Artist per track id of all 1000 tracks; None for the 81 that Sturm (2012) could not name."""
    rows = csv.DictReader(_text("gtzan_artists.csv").splitlines())
    return MappingProxyType({row["track"]: row["artist"] or None for row in rows})


@cache
def duplicates() -> tuple[tuple[str, str], ...]:
    """The 14 pairs of exact copies."""
    return tuple((row["track"], row["copy"]) for row in csv.DictReader(_text("gtzan_duplicates.csv").splitlines()))


@cache
def filtered(part: Part) -> tuple[str, ...]:
    """Track ids of a part of the fault-filtered split (Kereliuk, Sturm and Larsen 2015): 443, 197 and 290 tracks."""
    return tuple(_text(f"filtered_{part}.txt").split())


@cache
def centroids_hz() -> MappingProxyType[str, int]:
    """Mean spectral centroid per track id of all 1000 tracks, Hz, as in GTZAN's feature table."""
    rows = csv.DictReader(_text("gtzan_centroids.csv").splitlines())
    return MappingProxyType({row["track"]: int(row["centroid_hz"]) for row in rows})


def is_gtzan(ids: Collection[str], rows: Mapping[str, NDArray[np.float64]] = MappingProxyType({})) -> bool:
    """Whether tracks of these ids are GTZAN's: all ten genres, and hardly a track that GTZAN has not (a stray file).

    Of the feature `rows`, float64 (57,) by id, four in five must be of GTZAN's sound, within 5 %.
    """
    ours = [key for key in ids if key in artists()]
    known = [(row[_CENTROID], centroids_hz()[key]) for key, row in rows.items() if key in artists()]
    close = sum(abs(hz - told) <= 0.05 * told for hz, told in known)
    is_named_so = {key.split(".")[0] for key in ours} == set(GENRES) and len(ours) >= 0.95 * len(ids)
    return is_named_so and close >= 0.8 * len(known)


def _text(name: str) -> str:
    return resources.files("genre_ray.data.lists").joinpath(name).read_text(encoding="utf-8")
