"""Drums from formulas. Knows nothing about rhythm or genres."""

from dataclasses import dataclass

import numpy as np

from genre_ray.data.synthesis.waves import Sound, high_pass, normalised, time


@dataclass(frozen=True)
class Kit:
    """A drum kit: base frequencies in Hz, decay times in seconds, and how bright the noise is."""

    kick_hz: float
    kick_decay_s: float
    snare_hz: float
    snare_decay_s: float
    hat_decay_s: float
    brightness: float

    def hit(self, drum: str, rng: np.random.Generator) -> Sound:
        """One stroke of kick, snare, hat, open hat, ride, crash, clap, rim or shaker."""
        if drum == "kick":
            return self._kick()
        if drum in ("snare", "brush", "clap", "rim"):
            return self._snare(drum, rng)
        decay = {"hat": 1.0, "shaker": 1.4, "open": 5.0, "ride": 6.0, "crash": 16.0}[drum] * self.hat_decay_s
        t = time(min(decay * 5, 1.6))
        noise = rng.standard_normal(len(t), dtype=np.float32)
        ring = np.zeros_like(t)
        for ratio in (1.0, 1.34, 1.68, 2.27):  # beating squares are what makes a cymbal of noise
            ring += np.sign(np.sin(np.float32(2 * np.pi * 3100 * ratio * (0.8 + 0.4 * self.brightness)) * t))
        mixed = noise + ring * np.float32({"ride": 0.7, "crash": 0.15}.get(drum, 0.25))
        filtered = high_pass(mixed, 3500 + 3500 * self.brightness)
        return normalised(filtered * np.exp(-t / np.float32(decay))) * np.float32(0.7)

    def _kick(self) -> Sound:
        t = time(self.kick_decay_s * 4)
        drop = np.float32(self.kick_hz) * t + np.float32(self.kick_hz * 0.09) * (1 - np.exp(-t * 35))
        return normalised(np.sin(np.float32(2 * np.pi) * drop) * np.exp(-t / np.float32(self.kick_decay_s)))

    def _snare(self, drum: str, rng: np.random.Generator) -> Sound:
        length = {"snare": 1.0, "brush": 1.3, "clap": 0.8, "rim": 0.25}[drum] * self.snare_decay_s
        t = time(length * 5)
        noise = high_pass(rng.standard_normal(len(t), dtype=np.float32), 700 + 1500 * self.brightness)
        tone = np.sin(np.float32(2 * np.pi * self.snare_hz * (3 if drum == "rim" else 1)) * t) * np.exp(-t * 25)
        share = {"snare": 0.5, "brush": 0.05, "clap": 0.0, "rim": 1.2}[drum]
        level = np.float32({"brush": 0.45}.get(drum, 1.0))
        return (
            normalised((noise * np.float32(0.6) + tone * np.float32(share)) * np.exp(-t / np.float32(length))) * level
        )
