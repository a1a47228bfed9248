"""What a genre-like recipe is made of. Knows nothing about any genre, or how a recipe is turned into sound.

Patterns have 16 steps a bar. In a drum pattern `x` is a stroke, `o` a soft one, `?` one that may be left out. In a
chord pattern `x` is the chord, `a` one of its notes after the other, `-` lets it ring. In a bass pattern a digit is the
step of the scale above the root (8 is the octave), `w` any note of the chord or between. Chords are semitones above the
key and a quality.
"""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Groove:
    """Tempo in beats a minute; where the second eighth falls in a beat (0.5 straight, 0.67 triplets); timing jitter."""

    tempo: Range
    swing: Range
    jitter_s: float


@dataclass(frozen=True)
class Drums:
    """Patterns by drum, of which an artist has one; the level; kit: kick in Hz, snare decay in s, brightness."""

    patterns: tuple[dict[str, str], ...]
    level: Range
    kick_hz: Range = (48.0, 62.0)
    snare_decay_s: Range = (0.05, 0.1)
    brightness: Range = (0.3, 0.8)


@dataclass(frozen=True)
class Harmony:
    """Progressions of one chord a bar, and the scale of the melody in semitones."""

    progressions: tuple[str, ...]
    scale: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Something that plays: instruments and patterns to choose from, octave of the notes, brightness, level."""

    instruments: tuple[str, ...]
    patterns: tuple[str, ...]
    octave: int
    brightness: Range
    level: Range


@dataclass(frozen=True)
class Melody:
    """A tune: instruments, notes a bar, octave, brightness, level, share of bars in which it rests."""

    instruments: tuple[str, ...]
    notes: Range
    octave: int
    brightness: Range
    level: Range
    rests: float


@dataclass(frozen=True)
class Production:
    """Reverberation (share, seconds), low-pass in Hz, noise level, overdrive of the whole, and how loud it is."""

    room: Range
    decay_s: Range
    cutoff_hz: Range
    noise: Range
    drive: Range


@dataclass(frozen=True)
class Recipe:
    """A genre, and the genres its artists borrow from."""

    groove: Groove
    drums: Drums
    harmony: Harmony
    bass: Part
    chords: Part
    melody: Melody
    production: Production
    neighbours: tuple[str, ...]
