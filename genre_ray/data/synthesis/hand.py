"""One fictional artist's hand in one track: every value and choice is the artist's habit with a little of the moment.

Knows nothing about sound.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from genre_ray.data.synthesis.recipe import Range, Recipe

T = TypeVar("T")

HABIT = 0.6
"""How much of a value is the artist's, and how often a choice is; the rest is the track's."""

BORROWING = 0.14
"""How often an artist takes a part of the recipe from a neighbouring genre. This is what makes genres overlap."""


@dataclass(frozen=True)
class Hand:
    """Draws by name, so that one draw more or less changes no other: `seed`, genre, artist and track decide all."""

    seed: int
    genre: int
    artist: int
    track: int

    def within(self, name: str, span: Range) -> float:
        """A value in `span`."""
        habit, moment = self.habit(name).random(), self.moment(name).random()
        return span[0] + (span[1] - span[0]) * (HABIT * habit + (1 - HABIT) * moment)

    def choice(self, name: str, options: Sequence[T]) -> T:
        """One of `options`."""
        moment = self.moment(name)
        generator = self.habit(name) if moment.random() < HABIT else moment
        return options[int(generator.integers(len(options)))]

    def habit(self, name: str) -> np.random.Generator:
        """The artist's chance: the same in each of the artist's tracks."""
        return np.random.default_rng((self.seed, self.genre, 1, self.artist, zlib.crc32(name.encode())))

    def moment(self, name: str) -> np.random.Generator:
        """The track's chance."""
        return np.random.default_rng((self.seed, self.genre, 2, self.track, zlib.crc32(name.encode())))

    def blend(self, genre: str, recipes: dict[str, Recipe]) -> Recipe:
        """The genre's recipe with what this artist takes from its neighbours."""
        recipe = recipes[genre]
        for part in ("groove", "drums", "harmony", "bass", "chords", "melody", "production"):
            chance = self.habit(f"borrow {part}")
            if chance.random() < BORROWING:
                lender = recipe.neighbours[int(chance.integers(len(recipe.neighbours)))]
                recipe = replace(recipe, **{part: getattr(recipes[lender], part)})
        return recipe
