"""Writes the embedded corpus in GTZAN's layout, whole or not at all. Knows nothing about how a track sounds.

The corpus has its own `manifest.csv` (path, label, artist) and `corpus.json`, so that nobody takes it for GTZAN.
"""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from genre_ray.data.synthesis.arrangement import perform
from genre_ray.data.synthesis.hand import Hand
from genre_ray.data.synthesis.recipes import RECIPES
from genre_ray.errors import CatalogError
from genre_ray.schema import GENRES, SAMPLE_RATE

VERSION = 1
"""Changes whenever the same parameters give other sounds."""

_KIND = "genre_ray composed corpus"

TRACKS_PER_ARTIST = 3
"""So that a corpus of 15 tracks a genre has the five artists a genre that five artist-aware folds need."""


@dataclass(frozen=True)
class Parameters:
    """All that decides the corpus, as `corpus.json` has it."""

    tracks_per_genre: int
    duration_s: float
    seed: int
    version: int = VERSION
    sample_rate: int = SAMPLE_RATE


@dataclass(frozen=True)
class Piece:
    """One track to be composed. Its place alone decides its sound: a larger corpus begins like a smaller one."""

    genre: int
    number: int

    @property
    def artist(self) -> int:
        """Number of the artist within the genre."""
        return self.number // TRACKS_PER_ARTIST

    @property
    def path(self) -> str:
        """Below the corpus, as GTZAN names its audio."""
        label = GENRES[self.genre]
        return f"genres_original/{label}/{label}.{self.number:05d}.wav"


def compose(root: str | Path, *, tracks_per_genre: int = 20, duration_s: float = 10.0, seed: int = 0) -> Path:
    """Composes the corpus as the folder `root` and returns it; one with these parameters that is there is used again.

    Ten genres of `tracks_per_genre` tracks, 22,050 Hz mono 16 bit; the same parameters give the same bytes. A composed
    corpus with other parameters is replaced; anything else that is in the way is left alone. Raises CatalogError then,
    for a size without sense, and for a folder that cannot be written.
    """
    if not 1 <= tracks_per_genre <= 99_999 or not 1.0 <= duration_s <= 600.0 or seed < 0:
        raise CatalogError(
            "the embedded corpus cannot be composed",
            found=f"tracks_per_genre {tracks_per_genre}, duration_s {duration_s}, seed {seed}",
            expected="1 to 99999 tracks a genre of 1 to 600 seconds, and a seed of 0 or more",
        )
    parameters = Parameters(tracks_per_genre, float(duration_s), seed)
    place = Path(root).expanduser().absolute()
    if _is_complete(place, parameters):
        return place
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and _parameters_of(place) is None):
        raise CatalogError(
            f"{place}: something else is there",
            expected="a new or empty folder, or a corpus composed earlier",
            remedy="name another folder for the embedded corpus",
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as unfinished:
            _write(Path(unfinished) / "corpus", parameters)
            _put(Path(unfinished), place, parameters)
    except OSError as error:
        raise CatalogError(
            f"{place}: the embedded corpus cannot be written",
            found=str(error),
            remedy="name another folder, or make room in this one",
        ) from error
    return place


def render(piece: Piece, parameters: Parameters) -> bytes:
    """The WAV file of one track."""
    hand = Hand(parameters.seed, piece.genre, piece.artist, piece.number)
    sound = perform(hand, hand.blend(GENRES[piece.genre], RECIPES), parameters.duration_s)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.round(sound * 32767).astype(np.int16), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _pieces(parameters: Parameters) -> Iterator[Piece]:
    return (Piece(genre, number) for genre in range(len(GENRES)) for number in range(parameters.tracks_per_genre))


def _write(place: Path, parameters: Parameters) -> None:
    for label in GENRES:
        (place / "genres_original" / label).mkdir(parents=True)
    with (place / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("path", "label", "artist"))
        for piece in _pieces(parameters):
            (place / piece.path).write_bytes(render(piece, parameters))
            table.writerow((piece.path, GENRES[piece.genre], f"{GENRES[piece.genre]} artist {piece.artist + 1}"))
    (place / "corpus.json").write_text(json.dumps({"kind": _KIND} | asdict(parameters), indent=1) + "\n")


def _put(unfinished: Path, place: Path, parameters: Parameters) -> None:
    """Gives the corpus its final name; if somebody else was faster with the same one, theirs is used."""
    if _is_complete(place, parameters):
        return
    if place.exists():
        place.rename(unfinished / "replaced")
    try:
        (unfinished / "corpus").rename(place)
    except OSError:
        if not _is_complete(place, parameters):
            raise


def _is_complete(place: Path, parameters: Parameters) -> bool:
    if _parameters_of(place) != asdict(parameters):
        return False
    return (place / "manifest.csv").is_file() and all((place / piece.path).is_file() for piece in _pieces(parameters))


def _parameters_of(place: Path) -> dict[str, object] | None:
    """What `corpus.json` says; None if `place` is no composed corpus."""
    try:
        found = json.loads((place / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.pop("kind", None) != _KIND:
        return None
    return found
