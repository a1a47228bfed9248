"""What the fields of a search file must be to each other: checked before anything is started.

Raises ValueError, which pydantic turns into part of its message. Knows nothing about Ray or Optuna.
"""

import random
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from genre_ray.errors import ConfigError
from genre_ray.tune.domains import Choice, Domain, Int, LogInt, Scalar
from genre_ray.tune.names import VARIANT

if TYPE_CHECKING:
    from genre_ray.tune.config import TuneConfig

_PROBES = 64


def check_search(config: "TuneConfig") -> None:
    """Refuse variants, spaces and points that could hand a trial a setting that it cannot take."""
    _check_base(config)
    _check_parts(config)
    _check_extraction(config)
    _check_space(config)
    _check_points(config)


def _check_base(config: "TuneConfig") -> None:
    for variant in config.variants:
        _require_valid(config, {VARIANT: variant}, f"variants.{variant}")


_LEAST_TRAINED = 0.1
"""Share of the tracks that a split must leave to train on."""


def _check_parts(config: "TuneConfig") -> None:
    """Settings that each are in range, and together leave a trial next to nothing, or do other than they say."""
    protocol = config.protocol
    left = 1.0 - protocol.validation_fraction
    left *= 1.0 - protocol.test_fraction if protocol.name == "paper" else 1.0
    if protocol.name in ("paper", "random-cv", "artist-cv") and left < _LEAST_TRAINED:
        raise ValueError(
            f"protocol: test_fraction and validation_fraction leave {left:.0%} of the tracks to train on; lower them"
        )
    for run in config.runs():
        shape, variants = run.inputs.picture_shape, run.training.augment.variants
        if shape is not None and variants is not None and variants.columns is not None and variants.columns > shape[2]:
            raise ValueError(
                f"training.augment.variants.columns {variants.columns} exceeds the {shape[2]} columns of the picture;"
                " write null for the whole clip"
            )


_EXTRACTION = ("inputs.clip", "inputs.spectrogram.form", "inputs.spectrogram.size", "inputs.features.tail")


def _check_extraction(config: "TuneConfig") -> None:
    """Tracks are prepared once for all trials, so what is extracted from them cannot be searched."""
    for name in config.space:
        field = name.rsplit("/", 1)[-1]
        if field.startswith(_EXTRACTION):
            raise ValueError(
                f"space.{name}: tracks are prepared once for a whole search, so {field} cannot be searched;"
                " set it in base and run one search for each value"
            )
    inputs = [run.inputs for run in config.runs()]
    extracted: dict[str, set[object]] = {
        "inputs.clip": {given.clip for given in inputs},
        "inputs.spectrogram.form": {given.spectrogram.form for given in inputs if given.spectrogram},
        "inputs.spectrogram.size": {given.spectrogram.size for given in inputs if given.spectrogram},
        "inputs.features.tail": {given.features.tail for given in inputs if given.features},
    }
    for field, values in extracted.items():
        if len(values) > 1:
            raise ValueError(
                f"variants: {field} must be the same in all variants of one search, since tracks are prepared once;"
                " set it in base and run one search for each value"
            )


def _check_space(config: "TuneConfig") -> None:
    """Values of each entry alone, then random combinations, so that no trial can be handed an invalid setting."""
    for name, domain in config.space.items():
        prefix = name.split("/", 1)[0] if "/" in name else None
        if prefix is not None and prefix not in config.variants:
            raise ValueError(
                f"space.{name}: there is no variant {prefix!r} (known: {', '.join(config.variants) or 'none'})"
            )
        variants: list[str | None] = [prefix] if prefix else [*config.variants] or [None]
        for variant in variants:
            base = {VARIANT: variant} if variant else {}
            _require_field(config, base, name)
            for value in domain.probes():
                _require_valid(config, base | {name: value}, f"space.{name} = {value!r}")
    generator = random.Random(0)  # noqa: S311 - probes of the space, not secrets
    for _ in range(_PROBES if config.space else 0):
        params: dict[str, Any] = {}
        if config.variants:
            params[VARIANT] = generator.choice(list(config.variants))
        domains = config.parameters(params.get(VARIANT))
        params |= {name: generator.choice(domain.probes()) for name, domain in domains.items()}
        _require_valid(config, params, f"space, combination {params}")


def _require_field(config: "TuneConfig", params: dict[str, Any], name: str) -> None:
    tree: Any = config.resolve(params).model_dump(mode="json")
    field = name.rsplit("/", 1)[-1]
    for part in field.split("."):
        if not isinstance(tree, dict) or part not in tree:
            known = f"fields there: {', '.join(tree)}" if isinstance(tree, dict) else "nothing is below it"
            place = f" for variant {params[VARIANT]}" if params else ""
            raise ValueError(f"space.{name}: a run has no field {field!r}{place}; {known}")
        tree = tree[part]


def _require_valid(config: "TuneConfig", params: dict[str, Any], place: str) -> None:
    try:
        config.resolve(params)
    except ConfigError as error:
        reason = "; ".join(error.message.replace("run: ", "").splitlines())  # one problem of this file, one line
        cause = error.__cause__
        if isinstance(cause, ValidationError) and any(item["type"] == "int_from_float" for item in cause.errors()):
            reason += "; the field takes whole numbers" + (": write int or logint" if place.startswith("space") else "")
        raise ValueError(f"{place}: {reason}") from error
    except ValidationError as error:
        raise ValueError(f"{place}: {error}") from error


def _check_points(config: "TuneConfig") -> None:
    for number, point in enumerate(config.points):
        variant = point.get(VARIANT)
        if variant is not None and variant not in config.variants:
            raise ValueError(
                f"points[{number}].variant: no variant {variant!r} (known: {', '.join(config.variants) or 'none'})"
            )
        domains = config.parameters(str(variant) if variant is not None else None)
        for name, value in point.items():
            if name == VARIANT:
                continue
            if name not in domains:
                raise ValueError(
                    f"points[{number}].{name}: not in the space{f' of variant {variant}' if variant else ''}"
                )
            if not _contains(domains[name], value):
                raise ValueError(
                    f"points[{number}].{name}: {value!r} lies outside {domains[name].model_dump(by_alias=True)}"
                )


def _contains(domain: Domain, value: Scalar) -> bool:
    if isinstance(domain, Choice):
        return any(value == option and type(value) is type(option) for option in domain.options)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = domain.bounds
    whole = isinstance(domain, Int | LogInt)
    return low <= value <= high and (not whole or float(value).is_integer())
