"""Facts about GTZAN that ship with the package: artists, exact copies, the fault-filtered lists.

Sources are named in `lists/README.md`. Knows nothing about files of the corpus itself.
"""

import csv
from collections.abc import Collection
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal

from genre_ray.schema import GENRES

SHORTEST_S, LONGEST_S = 29.9, 30.7
"""Seconds of GTZAN's audio files (660,000 to 675,808 samples at 22,050 Hz)."""

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


def is_gtzan(ids: Collection[str]) -> bool:
    """Whether tracks of these ids are GTZAN's: all ten genres, and hardly a track that GTZAN has not (a stray file)."""
    ours = [key for key in ids if key in artists()]
    return {key.split(".")[0] for key in ours} == set(GENRES) and len(ours) >= 0.95 * len(ids)


def _text(name: str) -> str:
    return resources.files("genre_ray.data.lists").joinpath(name).read_text(encoding="utf-8")
