"""The setting of an evaluation protocol. Knows nothing about tracks."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from genre_ray.config import Config


class ProtocolConfig(Config):
    """How a corpus is divided into training, validation and test part."""

    name: Literal["paper", "random-cv", "artist-cv", "filtered", "custom"] = "paper"
    """`paper`: one stratified random split, the report's. `random-cv`: stratified cross-validation. `artist-cv`: the
    same with all tracks of an artist, and exact copies, on one side. `filtered`: GTZAN's fault-filtered lists, 443 /
    197 / 290 tracks. `custom`: lists of your own, or a manifest's column `split`."""

    folds: int = Field(5, ge=2, le=100)
    """Folds of a cross-validation; each is the test part once."""

    repeats: int = Field(1, ge=1, le=100)
    """How often a cross-validation is repeated, each time with another seed."""

    test_fraction: float = Field(0.2, gt=0.0, lt=1.0)
    """Test part of `paper`."""

    validation_fraction: float = Field(0.15, gt=0.0, lt=1.0)
    """Validation part, as a fraction of what the test part leaves; not for `filtered`, which has its own."""

    seed: int = Field(42, ge=0, le=2**32 - 1)
    """Seeds every random division."""

    train_list: Path | None = None
    """`custom`: a text file with one track id or file name a line."""

    validation_list: Path | None = None
    """`custom`: as `train_list`; without it the validation part is carved out of the training part."""

    test_list: Path | None = None
    """`custom`: as `train_list`."""

    @model_validator(mode="after")
    def _lists_belong_to_custom(self) -> Self:
        given = [key for key in ("train_list", "validation_list", "test_list") if getattr(self, key) is not None]
        if given and self.name != "custom":
            raise ValueError(f"{', '.join(given)} can only be given with name custom, not {self.name}")
        if given and (self.train_list is None or self.test_list is None):
            raise ValueError(f"name custom needs train_list and test_list, only {', '.join(given)} given")
        return self
