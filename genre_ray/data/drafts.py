"""Tracks in the making: what each has, gathered from files and tables, joined on the track id.

Knows nothing about which layout the files are in.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from genre_ray import features
from genre_ray.data.faults import FaultLog
from genre_ray.data.listing import File
from genre_ray.errors import FeatureError
from genre_ray.schema import Track

AUDIO_SUFFIXES = frozenset(
    f".{name}"
    for name in ("wav", "au", "flac", "ogg", "oga", "opus", "mp3", "mp2", "m4a", "aac", "mp4", "aif", "aiff", "aifc")
) | {".wma", ".caf", ".webm", ".mka", ".mkv", ".mov", ".avi", ".m4b", ".wv", ".ape", ".ac3", ".w64"}
"""Files that are taken for audio; whether one can be decoded is found out on opening it."""

FIGURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""Files that may be spectrogram figures. GTZAN's are PNG."""

_NUMBERED = re.compile(r"^(?P<genre>.*?\D)[._-]?(?P<number>\d{5})$")


@dataclass(slots=True)
class Draft:
    """A track as far as it is known; `label` comes from its folder or table."""

    id: str
    label: str | None = None
    audio: File | None = None
    figure: File | None = None
    features: NDArray[np.float64] | None = None
    artist: str | None = None
    split: str | None = None

    def track(self) -> Track:
        """The finished noun."""
        return Track(
            id=self.id,
            label=self.label,
            audio=self.audio.source if self.audio else None,
            figure=self.figure.source if self.figure else None,
            features=self.features,
            artist=self.artist,
            split=self.split,
        )


class Drafts:
    """Drafts in the order of their ids; of two files of a kind for one track the first is kept, and both reported."""

    def __init__(self, log: FaultLog) -> None:
        self.log = log
        self._by_id: dict[str, Draft] = {}

    def __iter__(self) -> Iterator[Draft]:
        return iter([self._by_id[key] for key in sorted(self._by_id)])

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, track_id: object) -> bool:
        return track_id in self._by_id

    def at(self, track_id: str, label: str | None) -> Draft:
        """The draft of that id, made if it is new."""
        return self._by_id.setdefault(track_id, Draft(track_id, label))

    def add_file(self, track_id: str, label: str | None, file: File) -> None:
        """Gives a track its audio or figure, by suffix."""
        draft = self.at(track_id, label)
        is_audio = file.suffix in AUDIO_SUFFIXES
        known = draft.audio if is_audio else draft.figure
        if known is not None:
            self.note_again(track_id, f"{known.path} and {file.path}", label, file.path)
        elif is_audio:
            draft.audio = file
        else:
            draft.figure = file

    def note_again(self, track_id: str, found: str, label: str | None, where: str) -> None:
        """Reports a further file or row of a track, and its label if that is another one."""
        self.log.add("duplicate-id", track_id, found, action="kept, with the first of them", again=True)
        ours = self.at(track_id, None).label
        if label is not None and ours is not None and label != ours:
            found = f"{label!r} in {where}, {ours!r} in the first"
            self.log.add("label-disagreement", track_id, found, action="kept, as the first of them says", again=True)


def track_id(path: str) -> str:
    """The id of the track that a file belongs to.

    `blues.00000` for GTZAN's `blues/blues00000.png`, `blues.00000.wav`, `blues_00000.wav` or `blues.00000`; for any
    other file its path without the suffix. Empty for an empty path.
    """
    place = PurePosixPath(path_id(path))
    short = numbered_id(place.name)
    if short is not None and (len(place.parts) == 1 or short.startswith(f"{place.parent.name}.")):
        return short
    return path_id(path)


def path_id(path: str) -> str:
    """The path without its suffix, if that is one of audio or figures: "Song No. 1" stays whole."""
    place = PurePosixPath(path)
    if not place.name:
        return ""
    known = place.suffix.lower() in AUDIO_SUFFIXES | FIGURE_SUFFIXES
    return (place.with_suffix("") if known else place).as_posix()


def numbered_id(stem: str) -> str | None:
    """`genre.NNNNN` if the stem is one of the ways in which GTZAN's names are written, None otherwise."""
    match = _NUMBERED.match(stem)
    return f"{match['genre'].rstrip('._-')}.{match['number']}" if match else None


def genre_in(name: str) -> str | None:
    """The genre that a track id or a file name without suffix holds in GTZAN's way, None if it is named otherwise."""
    short = numbered_id(name)
    return short.rpartition(".")[0] if short else None


def feature_row(values: Mapping[str, object]) -> tuple[NDArray[np.float64] | None, str]:
    """The 57 features of a table's row in their order, or None and what is wrong with it."""
    try:
        return features.from_row(values), ""
    except FeatureError as error:
        return None, f"{error.message.removeprefix('feature row: ')}: {error.found}"
