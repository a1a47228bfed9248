"""The kinds of search-space entries that a YAML file may hold, each checking itself.

Knows nothing about Ray, Optuna or the fields that are searched.
"""

import math
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from genre_ray.config import Config

Scalar = bool | int | float | str | None

_INSIDE = (math.sqrt(5) - 1) / 2  # how far within its bounds a domain is probed: at no whole number by chance
_ELSEWHERE = {
    "grid_search": "use choice; the sampler tries each value",
    "grid": "use choice; the sampler tries each value",
    "sample_from": "use uniform, loguniform, int, logint or choice; a dependence between fields goes into variants",
    "randn": "use uniform with the bounds that you would accept",
    "normal": "use uniform with the bounds that you would accept",
    "quniform": "use uniform with a step",
    "qloguniform": "use loguniform; Optuna knows no quantised logarithm",
    "qlograndint": "use logint; Optuna knows no quantised logarithm",
    "randint": "use int: [lowest, highest], both included",
    "lograndint": "use logint: [lowest, highest], both included",
}


class Uniform(Config):
    """A float between two bounds."""

    bounds: tuple[float, float] = Field(alias="uniform")
    """Lowest and highest value."""

    step: float | None = Field(None, gt=0)
    """Distance between allowed values; None: all."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order("uniform", *self.bounds)
        _require_step("uniform", *self.bounds, self.step)
        return self

    def corners(self) -> tuple[Scalar, ...]:
        """The values at the edges."""
        return self.bounds

    def probes(self) -> tuple[Scalar, ...]:
        """Values at the edges and within, with which the rest of the configuration is checked."""
        low, high = self.bounds
        return (low, high, low + (self.step or _INSIDE * (high - low)))


class LogUniform(Config):
    """A float between two positive bounds, uniform in its logarithm."""

    bounds: tuple[float, float] = Field(alias="loguniform")
    """Lowest and highest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order("loguniform", *self.bounds)
        if self.bounds[0] <= 0:
            raise ValueError(f"loguniform needs a lower bound above 0, not {self.bounds[0]}")
        return self

    def corners(self) -> tuple[Scalar, ...]:
        """The values at the edges."""
        return self.bounds

    def probes(self) -> tuple[Scalar, ...]:
        """Values at the edges and within."""
        low, high = self.bounds
        return (low, high, low * (high / low) ** _INSIDE)


class Int(Config):
    """An integer between two bounds, both included."""

    bounds: tuple[int, int] = Field(alias="int")
    """Lowest and highest value."""

    step: int = Field(1, ge=1)
    """Distance between allowed values."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order("int", *self.bounds)
        _require_step("int", *self.bounds, self.step)
        return self

    def corners(self) -> tuple[Scalar, ...]:
        """The values at the edges."""
        return self.bounds

    def probes(self) -> tuple[Scalar, ...]:
        """Values at the edges and within."""
        return (*self.bounds, self.bounds[0] + self.step)


class LogInt(Config):
    """An integer between two positive bounds, both included, uniform in its logarithm."""

    bounds: tuple[int, int] = Field(alias="logint")
    """Lowest and highest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_order("logint", *self.bounds)
        if self.bounds[0] < 1:
            raise ValueError(f"logint needs a lower bound of at least 1, not {self.bounds[0]}")
        return self

    def corners(self) -> tuple[Scalar, ...]:
        """The values at the edges."""
        return self.bounds

    def probes(self) -> tuple[Scalar, ...]:
        """Values at the edges and within."""
        low, high = self.bounds
        return (low, high, math.isqrt(low * high))


class Choice(Config):
    """One of several scalars; the sampler sees no order between them."""

    options: tuple[Scalar, ...] = Field(alias="choice", min_length=1)
    """The values. No lists or mappings (Optuna stores scalars): derive them from a scalar, or use variants."""

    @model_validator(mode="after")
    def _alike_and_different(self) -> Self:
        if twice := [value for i, value in enumerate(self.options) if value in self.options[:i]]:
            raise ValueError(f"choice offers {twice[0]!r} twice")
        kinds = {_word(value) for value in self.options if value is not None}
        if len(kinds) > 1:
            raise ValueError(
                f"choice mixes {' and '.join(sorted(kinds))}: {list(self.options)};"
                " write values of one kind (PyYAML reads 1e-4 as text, 1.0e-4 as a number)"
            )
        return self

    def corners(self) -> tuple[Scalar, ...]:
        """Every value."""
        return self.options

    def probes(self) -> tuple[Scalar, ...]:
        """Every value."""
        return self.options


_KINDS: dict[str, type[Config]] = {
    "uniform": Uniform,
    "loguniform": LogUniform,
    "int": Int,
    "logint": LogInt,
    "choice": Choice,
}


def _parse(entry: Any) -> Any:
    if isinstance(entry, tuple(_KINDS.values())):
        return entry
    if not isinstance(entry, dict):
        raise ValueError(
            f"a search-space entry is a mapping such as {{choice: [1, 2]}}, not {entry!r}; fixed values go to base"
        )
    unknown = [key for key in entry if key not in _KINDS]
    for key in unknown:
        if key in _ELSEWHERE:
            raise ValueError(f"{key} is not something Optuna can search: {_ELSEWHERE[key]}")
    named = [key for key in entry if key in _KINDS]
    if len(named) != 1:
        raise ValueError(f"name exactly one of {', '.join(_KINDS)}, not {sorted(map(str, entry))}")
    kind = _KINDS[named[0]]
    known = [field.alias or name for name, field in kind.model_fields.items()]
    if more := [key for key in entry if key not in known]:
        raise ValueError(f"{more[0]} does not go with {named[0]}; known keys there: {', '.join(known)}")
    return kind.model_validate(entry)


def _require_order(name: str, low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"{name} needs its lower bound below its upper bound, not [{low}, {high}]")


def _require_step(name: str, low: float, high: float, step: float | None) -> None:
    if step is not None and step > high - low:
        raise ValueError(f"a step of {step} leads out of {name}: [{low}, {high}], so that only {low} would be tried")


def _word(value: Scalar) -> str:
    return "switches" if isinstance(value, bool) else "text" if isinstance(value, str) else "numbers"


Domain = Annotated[Uniform | LogUniform | Int | LogInt | Choice, BeforeValidator(_parse)]
"""An entry of a search space, told apart by its key."""
