"""Typed arguments of the service: which checkpoint, which limits, who may ask. Knows nothing about Ray."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from genre_ray.config import ClipConfig, Config
from genre_ray.errors import CheckpointNotFoundError
from genre_ray.shipped import FOLDERS, located


class Limits(Config):
    """What one request may cost. Sizes are counted while bytes arrive, never taken from a header."""

    max_body_bytes: int = Field(4 * 1024**2, ge=1024, le=1024**3)
    """Figure and features: multipart or JSON with base64."""

    max_audio_bytes: int = Field(16 * 1024**2, ge=1024, le=1024**3)
    """An audio file."""

    max_batch_bytes: int = Field(32 * 1024**2, ge=1024, le=1024**3)
    """The whole body of a batch."""

    max_batch_items: int = Field(64, ge=1, le=1024)
    """Items of a batch."""

    max_parts: int = Field(16, ge=1, le=256)
    """Parts of a multipart form."""

    max_pixels: int = Field(2_000_000, ge=10_000, le=50_000_000)
    """Width times height of a figure, read from its header before anything is decompressed."""

    max_audio_s: float = Field(600.0, ge=1.0, le=7200.0)
    """Decoding stops here, whatever the header says."""

    body_timeout_s: float = Field(10.0, gt=0.0, le=600.0)
    """From the first byte of a body to its last, or for as many as `body_bytes_per_s` asks for in that time."""

    body_bytes_per_s: float = Field(65536.0, ge=1024.0)
    """A body that keeps this pace may take longer than `body_timeout_s`."""

    max_held_bytes: int = Field(256 * 1024**2, ge=1024**2)
    """Bytes of unfinished requests that one replica holds at once, half of them recordings and half all else; beyond,
    bodies are refused with 429."""

    slow_body_s: float = Field(0.5, gt=0.0, le=60.0)
    """A body that takes longer than this gives up its place in the queue until it is complete."""

    answer_timeout_s: float = Field(10.0, gt=0.0, le=600.0)
    """From the complete body to the answer, for figures."""

    audio_timeout_s: float = Field(30.0, gt=0.0, le=600.0)
    """The same for audio."""

    max_windows: int = Field(128, ge=1, le=10_000)
    """Windows of one recording; a `clip_s` that would cut it into more is refused before it is decoded."""

    decode_cpu_s: float = Field(4.0, gt=0.0, le=600.0)
    """Processor time for decoding one recording; ten minutes of stereo at 48 kHz take half a second."""

    features_cpu_s: float = Field(25.0, gt=0.0, le=600.0)
    """Processor time for spectrogram and features of all windows of one recording; 128 windows take thirteen."""

    max_in_progress: int = Field(16, ge=1, le=4096)
    """Requests that one replica holds at once, as many recordings beside them; the next is refused with 429 before its
    body is read."""

    max_readers: int = Field(256, ge=1, le=65536)
    """Bodies that one replica reads at once, slow ones included; of recordings as many beside them."""


class Security(Config):
    """Who may ask, and how often."""

    auth: Literal["loopback", "token", "off"] = "loopback"
    """`loopback`: a token is required unless the service is bound to a loopback address. `token`: required. `off`."""

    rate_limit_per_s: float | None = Field(None, gt=0.0)
    """Requests a second for each key (each replica counts its own); None is off."""

    rate_burst: int = Field(20, ge=1, le=100_000)
    """Requests that a key may make at once before the rate holds."""


class Batching(Config):
    """When forward passes are gathered: only on a GPU is a batch faster than its parts."""

    when: Literal["gpu", "always", "never"] = "gpu"
    """`always` is for tests of the batching itself."""

    max_batch_size: int = Field(32, ge=1, le=1024)
    """Tracks a forward pass."""

    wait_s: float = Field(0.004, ge=0.0, le=1.0)
    """How long the first of a batch waits for others."""


class Canary(Config):
    """A second model beside the first."""

    checkpoint: str
    """The candidate."""

    share: float = Field(0.0, ge=0.0, le=1.0)
    """Part of the requests that the candidate answers; the same request id always goes to the same model."""

    shadow: float = Field(0.0, ge=0.0, le=1.0)
    """Part of the other requests that the candidate answers as well, after the response, for comparison only."""


class ServeArgs(Config):
    """`args` of the application in `serve_configs/*.yaml`."""

    checkpoint: str | None = None
    """A checkpoint directory. None: the newest `<results>/*/best`, else the one that ships with the package."""

    results: str = "results"
    """Where searches leave their results; looked at when `checkpoint` is null."""

    name: str = Field("genre", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """The model's name in the paths of the Open Inference Protocol."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the forward pass runs."""

    threads: int = Field(1, ge=1, le=64)
    """Intra-op threads of a replica on the CPU; one replica a core and one thread each is fastest."""

    backend: Literal["auto", "eager", "torchscript", "onnx"] = "auto"
    """What runs the network on a CPU. `auto`: the fastest of those that are installed, measured when a replica starts,
    and only if its outputs are those of eager torch. `onnx` needs the packages onnx and onnxruntime."""

    unsure_below: float | None = Field(None, ge=0.0, le=1.0)
    """An answer whose best probability is lower is marked `unsure`. None: the checkpoint's own threshold, learnt on
    held-out tracks."""

    tag_threshold: float | None = Field(None, ge=0.0, le=1.0)
    """Default of `threshold`: labels below it are left out of `predictions`. None: every label is there."""

    limits: Limits = Limits()
    """What one request may cost."""

    security: Security = Security()
    """Who may ask."""

    access_log: bool = True
    """A line of JSON for each request, beside Serve's logs (`access_*.log`)."""

    batching: Batching = Batching()
    """When forward passes are gathered."""

    canary: Canary | None = None
    """A second model beside the first."""


class UserConfig(Config):
    """`user_config` of a deployment: what `reconfigure` changes in a running replica."""

    checkpoint: str | None = None
    """The checkpoint to answer with; None is the one of `args`."""

    allow_new_labels: bool = False
    """Accept a checkpoint whose labels or inputs differ from those of the running one."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.checkpoint is not None and not self.checkpoint.strip():
            raise ValueError("checkpoint is an empty string: give a path or null")
        return self


REMEDY = "make one with `python -m genre_ray.tune`, or name one: args.checkpoint in the YAML file"


def find_checkpoint(args: ServeArgs) -> str:
    """The checkpoint that `args` means, as an absolute path or a URI; CheckpointNotFoundError says how to make one."""
    if args.checkpoint is not None:
        if "://" in args.checkpoint:
            return args.checkpoint
        path = Path(located(args.checkpoint)).expanduser()
        if not path.is_dir():
            raise CheckpointNotFoundError(f"{path}: there is no checkpoint directory", remedy=REMEDY)
        return str(path.resolve())
    best = [path for path in Path(args.results).expanduser().glob("*/best") if path.is_dir()]
    if best:
        return str(max(best, key=lambda path: path.stat().st_mtime).resolve())
    if FOLDERS["default"].is_dir():
        return str(FOLDERS["default"])
    raise CheckpointNotFoundError(
        "there is no checkpoint to serve",
        found=f"args.checkpoint is null, and {Path(args.results).resolve()} holds no */best",
        remedy=REMEDY,
    )


def service_clip(args: ServeArgs, trained: ClipConfig, *, clip_s: float | None, hop_s: float | None) -> ClipConfig:
    """The model's own windows under the service's limits; `clip_s` and `hop_s` are what a request asks for instead."""
    return trained.model_copy(
        update={
            "duration_s": clip_s or trained.duration_s,
            "hop_s": hop_s if hop_s is not None else (None if clip_s else trained.hop_s),
            "max_duration_s": min(args.limits.max_audio_s, trained.max_duration_s),
            "max_bytes": min(args.limits.max_audio_bytes, trained.max_bytes),
        }
    )
