"""The embedded corpus: music by formula, from a seed, so that the whole journey runs where there is no data."""

from genre_ray.data.synthesis.corpus import compose

__all__ = ["compose"]
