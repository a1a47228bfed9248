"""From a recipe and an artist's hand to the sound of one track. Knows nothing about files or GTZAN.

A bar has 16 steps in four beats; a step's place in time follows tempo and swing.
"""

from dataclasses import dataclass, field

import numpy as np

from genre_ray.data.synthesis.drums import Kit
from genre_ray.data.synthesis.hand import Hand
from genre_ray.data.synthesis.instruments import INSTRUMENTS
from genre_ray.data.synthesis.recipe import Part, Recipe
from genre_ray.data.synthesis.waves import Sound, normalised, record
from genre_ray.schema import SAMPLE_RATE

_QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "5": (0, 7),
}
_BASS_STEPS = {"1": 0, "3": 4, "5": 7, "6": 9, "8": 12}
_STEPS = 16


@dataclass
class Song:
    """A track while it is put together: its grid of time, its sound so far, and the notes that were already made."""

    hand: Hand
    recipe: Recipe
    duration_s: float
    mix: Sound = field(init=False)
    beat_s: float = field(init=False)
    swing: float = field(init=False)
    key: int = field(init=False)
    chords: list[tuple[int, tuple[int, ...]]] = field(init=False)
    chance: np.random.Generator = field(init=False)
    notes: dict[tuple[str, int, int, int], Sound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groove = self.recipe.groove
        self.mix = np.zeros(round(self.duration_s * SAMPLE_RATE), dtype=np.float32)
        self.beat_s = 60.0 / self.hand.within("tempo", groove.tempo)
        self.swing = self.hand.within("swing", groove.swing)
        self.key = int(self.hand.moment("key").integers(12))
        progression = self.hand.choice("progression", self.recipe.harmony.progressions)
        self.chords = [
            (int(root), _QUALITIES[quality]) for root, quality in (c.split(":") for c in progression.split())
        ]
        self.chance = self.hand.moment("performance")

    @property
    def bars(self) -> int:
        """Bars that begin within the track."""
        return int(np.ceil(self.duration_s / (4 * self.beat_s)))

    def when(self, bar: int, step: float) -> float:
        """Seconds from the start to a step of a bar; the second eighth of a beat comes late by the swing."""
        beat, place = divmod(step / 4, 1.0)
        late = place * 2 * self.swing if place < 0.5 else self.swing + (place - 0.5) * 2 * (1 - self.swing)
        return (bar * 4 + beat + late) * self.beat_s

    def place(self, sound: Sound, at_s: float, level: float) -> None:
        """Adds a sound to the mix, a little off the grid and a little uneven, as people play."""
        at = round((at_s + self.chance.normal(0, self.recipe.groove.jitter_s / 2)) * SAMPLE_RATE)
        at = max(0, at)
        part = sound[: max(0, len(self.mix) - at)]
        self.mix[at : at + len(part)] += part * np.float32(level * self.chance.uniform(0.8, 1.1))

    def note(self, instrument: str, pitch: int, duration_s: float, brightness: float) -> Sound:
        """A note by MIDI pitch; one that was already made is taken again, apart from the voices, which never repeat."""
        variant = int(self.chance.integers(6)) if instrument in ("voice", "rap") else 0
        key = (instrument, pitch, round(duration_s * 50), variant)
        if key not in self.notes:
            frequency = 440.0 * 2 ** ((pitch - 69) / 12)
            self.notes[key] = INSTRUMENTS[instrument](frequency, max(0.04, duration_s), brightness, self.chance)
        return self.notes[key]


def perform(hand: Hand, recipe: Recipe, duration_s: float) -> Sound:
    """One track, float32 in -1..1 at SAMPLE_RATE, `duration_s` long."""
    song = Song(hand, recipe, duration_s)
    _play_drums(song)
    _play_bass(song)
    _play_chords(song)
    _play_melody(song)
    return _produce(song)


def _play_drums(song: Song) -> None:
    drums, hand = song.recipe.drums, song.hand
    pattern = hand.choice("drum pattern", drums.patterns)
    level = hand.within("drum level", drums.level)
    bright = hand.within("kit brightness", drums.brightness)
    kit = Kit(
        kick_hz=hand.within("kick", drums.kick_hz),
        kick_decay_s=hand.within("kick decay", (0.06, 0.16)),
        snare_hz=hand.within("snare", (160.0, 240.0)),
        snare_decay_s=hand.within("snare decay", drums.snare_decay_s),
        hat_decay_s=hand.within("hat decay", (0.015, 0.045)),
        brightness=bright,
    )
    weights = {
        "kick": 1.0,
        "snare": 0.8,
        "clap": 0.8,
        "hat": 0.55,
        "open": 0.5,
        "ride": 0.45,
        "crash": 0.6,
        "shaker": 0.45,
    }
    for drum, steps in pattern.items():
        hits = [kit.hit(drum, hand.moment(f"{drum} {take}")) for take in range(2)]
        for bar in range(song.bars):
            for step, mark in enumerate(steps):
                if mark == "." or (mark == "?" and song.chance.random() < 0.5):
                    continue
                accent = 0.5 if mark == "o" else 1.0
                take = hits[int(song.chance.integers(len(hits)))]
                song.place(take, song.when(bar, step), level * accent * weights.get(drum, 0.6))


def _play_bass(song: Song) -> None:
    part = song.recipe.bass
    instrument, pattern, bright, level = _settled(song, "bass", part)
    for bar in range(song.bars):
        root, quality = song.chords[bar % len(song.chords)]
        for step, length, mark in _events(pattern):
            third = 3 if 3 in quality else 4
            above = int(song.chance.choice((*quality, 2, 9))) if mark == "w" else _BASS_STEPS[mark]
            above = third if mark == "3" else above
            pitch = 12 * (part.octave + 1) + (song.key + root) % 12 + above
            sound = song.note(instrument, pitch, length * song.beat_s / 4, bright)
            song.place(sound, song.when(bar, step), level)


def _play_chords(song: Song) -> None:
    part = song.recipe.chords
    instrument, pattern, bright, level = _settled(song, "chords", part)
    for bar in range(song.bars):
        root, quality = song.chords[bar % len(song.chords)]
        base = 12 * (part.octave + 1) + (song.key + root) % 12
        # `distorted` is a power chord already; thirds through an overdriven amplifier would be mud.
        tones = (0,) if instrument == "distorted" else quality
        for count, (step, length, mark) in enumerate(_events(pattern)):
            sounding = (tones[count % len(tones)],) if mark == "a" else tones
            for tone in sounding:
                sound = song.note(instrument, base + tone, length * song.beat_s / 4, bright)
                song.place(sound, song.when(bar, step), level / len(sounding) ** 0.7)


def _play_melody(song: Song) -> None:
    """A phrase of one bar, again with another end, then something else: A A' B A."""
    melody, hand = song.recipe.melody, song.hand
    instrument = hand.choice("melody instrument", melody.instruments)
    bright = hand.within("melody brightness", melody.brightness)
    level = hand.within("melody level", melody.level)
    count = hand.within("melody notes", melody.notes)
    phrases = [_phrase(song, hand.moment(f"phrase {name}"), count) for name in ("a", "a end", "b")]
    for bar in range(song.bars):
        if song.chance.random() < melody.rests:
            continue
        phrase = phrases[0] if bar % 4 in (0, 3) else phrases[1] if bar % 4 == 1 else phrases[2]
        for step, length, pitch in phrase:
            sound = song.note(instrument, pitch, length * song.beat_s / 4, bright)
            song.place(sound, song.when(bar, step), level)


def _phrase(song: Song, chance: np.random.Generator, count: float) -> list[tuple[int, int, int]]:
    """Steps, lengths and pitches of a bar: a walk over the scale, on eighths unless there are many notes."""
    scale = song.recipe.harmony.scale
    grid = np.arange(_STEPS) if count > 7 else np.arange(0, _STEPS, 2)
    number = int(np.clip(round(count + chance.normal(0, 1)), 1, len(grid)))
    steps = np.sort(chance.choice(grid, size=number, replace=False))
    lengths = np.diff(np.append(steps, _STEPS))
    degrees = np.clip(int(chance.integers(len(scale))) + np.cumsum(chance.integers(-2, 3, size=number)), -3, 9)
    base = 12 * (song.recipe.melody.octave + 1) + song.key - 6
    return [
        (int(step), int(min(length, 6)), base + 12 * int(degree // len(scale)) + scale[int(degree % len(scale))])
        for step, length, degree in zip(steps, lengths, degrees, strict=True)
    ]


def _produce(song: Song) -> Sound:
    """Overdrive, room, the recording's bandwidth and noise; then a level that differs from track to track."""
    production, hand = song.recipe.production, song.hand
    sound = normalised(song.mix)
    drive = hand.within("drive", production.drive)
    if drive > 0.01:
        sound = np.tanh(sound * np.float32(1 + 2 * drive)).astype(np.float32)
    sound = record(
        sound,
        room=hand.within("room", production.room),
        decay_s=hand.within("decay", production.decay_s),
        cutoff_hz=hand.within("cutoff", production.cutoff_hz),
        rng=hand.habit("room tail"),
    )
    noise = song.chance.standard_normal(len(sound), dtype=np.float32)
    sound = sound + np.float32(hand.within("noise", production.noise)) * noise
    loudness = hand.within("loudness", (0.45, 0.98))
    return normalised(sound) * np.float32(loudness)


def _settled(song: Song, name: str, part: Part) -> tuple[str, str, float, float]:
    hand = song.hand
    return (
        hand.choice(f"{name} instrument", part.instruments),
        hand.choice(f"{name} pattern", part.patterns),
        hand.within(f"{name} brightness", part.brightness),
        hand.within(f"{name} level", part.level),
    )


def _events(pattern: str) -> list[tuple[int, int, str]]:
    """Step, length in steps, and mark of each note of a pattern; `-` makes the note before it longer."""
    events: list[tuple[int, int, str]] = []
    for step, mark in enumerate(pattern):
        if mark == "-" and events:
            start, length, sign = events[-1]
            events[-1] = (start, length + 1, sign)
        elif mark not in ".-":
            events.append((step, 1, mark))
    return events
