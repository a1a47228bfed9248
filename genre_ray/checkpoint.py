"""A checkpoint: a directory with one or more fitted networks and all that is needed to use them; no pickle.

    manifest.json           format, version, labels, inputs, members, temperature, unsure_below, history, metrics, ...
    preprocessors.json      the fitted scaling, once for members that share it
    weights-N.safetensors   the weights of member N
    README.md               the model card, for people
    checksums.json          SHA-256 of each file

Members share what is extracted from a track (clip, form of the spectrogram); each has its own scaling. Knows nothing
about how a checkpoint is used (`genre_ray.inference`) or where it is served.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from genre_ray import models
from genre_ray.abstention import UNSURE_BELOW
from genre_ray.artefact import read_directory, write_directory
from genre_ray.card import card
from genre_ray.config import InputConfig, RunConfig, parse
from genre_ray.errors import CheckpointDamagedError, CheckpointError, CheckpointFormatError, ConfigError
from genre_ray.fitted import EpochResult, Fitted
from genre_ray.preprocessing import Preprocessor
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.shipped import located

FORMAT = "genre_ray.checkpoint"
FORMAT_VERSION = 1
_MANIFEST, _PREPROCESSORS, _CARD = "manifest.json", "preprocessors.json", "README.md"
_PACKAGES = ("genre_ray", "torch", "numpy", "safetensors", "librosa", "ray")
_VERSION_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds: `manifest` as written, `members` ready for use, their `weights` summing to 1."""

    path: str
    version: str
    labels: tuple[str, ...]
    inputs: InputConfig
    members: tuple[Fitted, ...]
    weights: tuple[float, ...]
    temperature: float
    unsure_below: float
    manifest: dict[str, Any]


def save(
    path: str | Path,
    members: Sequence[Fitted],
    *,
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
    unsure_below: float | None = None,
    metrics: dict[str, Any],
    data: dict[str, Any],
    notes: dict[str, Any] | None = None,
    half: bool = False,
) -> str | Path:
    """Write the checkpoint, whole or not at all, and return `path` (a URI such as s3://bucket/key will do).

    `weights` are the shares of the members in the mean, equal when None; `temperature` divides the logarithm of that
    mean (see `genre_ray.inference`). `unsure_below` is the top probability that an answer needs to be gone by (see
    `genre_ray.abstention`); None where none was learnt. `data` names corpus, fingerprint, protocol, leaks and tracks.
    `half` stores matrices as float16, which halves the size. CheckpointError when members do not fit
    together or a weight is not finite.
    """
    shares = _shares(members, weights)
    inputs = _common_inputs(members)
    files = {f"weights-{i}.safetensors": _weights_bytes(member, half) for i, member in enumerate(members)}
    states = [json.dumps(member.preprocessor.to_json()) for member in members]
    distinct = sorted(set(states))
    files[_PREPROCESSORS] = f"[{', '.join(distinct)}]".encode()
    decisive = {
        "labels": list(members[0].labels),
        "inputs": inputs.model_dump(mode="json"),
        "temperature": temperature,
        "members": [
            _describe(member, i, share, distinct.index(state))
            for i, (member, share, state) in enumerate(zip(members, shares, states, strict=True))
        ],
    } | ({} if unsure_below is None else {"unsure_below": unsure_below})
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": _content_hash(decisive, files),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "feature_columns": list(FEATURE_COLUMNS) if inputs.features is not None else None,
        **decisive,
        "history": [[asdict(result) for result in member.history] for member in members],
        "metrics": metrics,
        "data": data,
        "notes": notes or {},
        "packages": _packages(),
    }
    files[_CARD] = card(manifest).encode()
    files[_MANIFEST] = json.dumps(_finite(manifest), indent=1, allow_nan=False).encode()
    write_directory(path, files)
    return path


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint from its path or URI alone, or the name of one that ships (`genre_ray.shipped`).

    CheckpointNotFoundError, CheckpointFormatError (foreign, or another format version) or CheckpointDamagedError.
    """
    path = located(path)
    files = read_directory(path)
    manifest = _manifest(path, files)
    try:
        return _restore(path, manifest, files)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, SafetensorError, ConfigError) as error:
        raise CheckpointDamagedError(
            f"{path}: the parts of the checkpoint do not fit together",
            found=f"{type(error).__name__}: {error}",
            expected="a checkpoint as genre_ray wrote it",
            remedy="copy the directory again, or open it with the genre_ray version named in its manifest",
        ) from error


def version_of(path: str | Path) -> str:
    """The model's version: a short hash of all that decides its answers. Errors as `open_checkpoint`."""
    path = located(path)
    return str(_manifest(path, read_directory(path))["version"])


def _manifest(path: str | Path, files: dict[str, bytes]) -> dict[str, Any]:
    try:
        manifest = json.loads(files[_MANIFEST])
        found = manifest["format"], manifest["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{path} is not a checkpoint of genre_ray",
            found="no manifest that says so",
            expected=f"{_MANIFEST} with format {FORMAT}",
            remedy="give the path of a checkpoint directory",
        ) from error
    if found != (FORMAT, FORMAT_VERSION):
        raise CheckpointFormatError(
            f"{path}: another format",
            found=f"{found[0]} version {found[1]}",
            expected=f"{FORMAT} version {FORMAT_VERSION}",
            remedy="use the genre_ray version that wrote it, or train again",
        )
    checked: dict[str, Any] = manifest
    return checked


def _restore(path: str | Path, manifest: dict[str, Any], files: dict[str, bytes]) -> Checkpoint:
    labels = tuple(manifest["labels"])
    states = json.loads(files[_PREPROCESSORS])

    @cache
    def preprocessor(inputs: InputConfig, index: int) -> Preprocessor:
        """One object for all members that share it, so that what they take is computed once."""
        return Preprocessor.from_json(inputs, labels, states[index])

    members = tuple(
        _restore_member(path, described, labels, preprocessor, files, history)
        for described, history in zip(manifest["members"], manifest["history"], strict=True)
    )
    return Checkpoint(
        path=str(path),
        version=manifest["version"],
        labels=labels,
        inputs=parse(InputConfig, manifest["inputs"], origin=f"{path}/{_MANIFEST}"),
        members=members,
        weights=tuple(float(described["weight"]) for described in manifest["members"]),
        temperature=float(manifest["temperature"]),
        unsure_below=float(manifest.get("unsure_below", UNSURE_BELOW)),
        manifest=manifest,
    )


def _restore_member(
    path: str | Path,
    described: dict[str, Any],
    labels: tuple[str, ...],
    preprocessor: Callable[[InputConfig, int], Preprocessor],
    files: dict[str, bytes],
    history: list[dict[str, Any]],
) -> Fitted:
    config = parse(RunConfig, described["config"], origin=f"{path}/{_MANIFEST}")
    shape = described["picture_shape"]
    picture_shape = None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2]))
    with torch.random.fork_rng(devices=[]):
        model = models.build(
            config.model, picture_shape=picture_shape, n_features=described["n_features"], n_labels=len(labels)
        )
    weights = load_tensors(files[described["weights"]])
    if not _all_finite(weights):
        raise CheckpointDamagedError(
            f"{path}: {described['weights']} holds weights that are not finite",
            expected="finite weights",
            remedy="train again; the fit that wrote this had diverged",
        )
    model.load_state_dict({name: _widened(value) for name, value in weights.items()})
    return Fitted(
        config=config,
        labels=labels,
        preprocessor=preprocessor(config.inputs, described["preprocessor"]),
        model=model.eval(),
        history=[EpochResult(**result) for result in history],
        picture_shape=picture_shape,
        n_features=described["n_features"],
    )


def _describe(member: Fitted, index: int, share: float, preprocessor: int) -> dict[str, Any]:
    return {
        "kind": "torch",
        "weight": share,
        "weights": f"weights-{index}.safetensors",
        "preprocessor": preprocessor,
        "config": member.config.model_dump(mode="json"),
        "picture_shape": None if member.picture_shape is None else list(member.picture_shape),
        "n_features": member.n_features,
    }


def _shares(members: Sequence[Fitted], weights: Sequence[float] | None) -> list[float]:
    given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
    usable = len(given) == len(members) > 0 and all(math.isfinite(w) and w >= 0 for w in given) and sum(given) > 0
    if not usable:
        raise CheckpointError(
            "a checkpoint needs members with weights",
            found=f"{len(members)} members, weights {given}",
            expected="at least one member, one weight of 0 or more for each, not all 0",
        )
    return [weight / sum(given) for weight in given]


def _common_inputs(members: Sequence[Fitted]) -> InputConfig:
    """What must be extracted from a track to serve all members; CheckpointError when they want different things."""
    every = [member.config.inputs for member in members]
    pictures = [inputs.spectrogram for inputs in every if inputs.spectrogram is not None]
    extracted = {inputs.clip.model_dump_json() for inputs in every}
    forms = {(picture.form, picture.size if picture.form == "figure" else 0) for picture in pictures}
    if len(extracted) > 1 or len(forms) > 1 or len({member.labels for member in members}) > 1:
        raise CheckpointError(
            "the members do not fit into one checkpoint",
            found=f"clips {sorted(extracted)}, spectrograms {sorted(forms)}",
            expected="the same labels, inputs.clip and inputs.spectrogram.form for all members",
        )
    features = [inputs.features for inputs in every if inputs.features is not None]
    return InputConfig(
        clip=every[0].clip,
        spectrogram=pictures[0] if pictures else None,
        features=features[0] if features else None,
    )


def _weights_bytes(member: Fitted, half: bool) -> bytes:
    state = {name: value.detach().cpu().contiguous() for name, value in member.model.state_dict().items()}
    if not _all_finite(state):
        raise CheckpointError(
            "the weights are not finite",
            expected="a fit that has not diverged",
            remedy="lower training.learning_rate, or set training.gradient_clip to 1.0",
        )
    if half:
        # Vectors (biases, running statistics) are small, and variances may leave the range of float16.
        matrices = {name for name, v in state.items() if v.dim() > 1 and v.is_floating_point()} - member.model.exact
        state = {name: value.half() if name in matrices else value for name, value in state.items()}
    content: bytes = save_tensors(state)
    return content


def _all_finite(state: dict[str, torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point())


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype == torch.float16 else value


def _content_hash(decisive: dict[str, Any], files: dict[str, bytes]) -> str:
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for name in sorted(files):
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()[:_VERSION_LENGTH]


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _finite(value: Any) -> Any:
    """JSON has no NaN: such a metric becomes null; NumPy scalars and tuples become plain values."""
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
