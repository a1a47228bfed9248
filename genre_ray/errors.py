"""The error tree. Knows nothing about anything else.

GenreRayError
├── ConfigError              a config file, a search space, an option
├── CatalogError             a folder or manifest as a whole
├── SplitError               a protocol that the data at hand cannot satisfy
├── TrackError               one track; a run skips it, counts it and goes on
│   ├── AudioError
│   ├── FigureError
│   └── FeatureError
├── NotFittedError           a fitted object used before `fit`
├── CheckpointError
│   ├── CheckpointNotFoundError
│   ├── CheckpointDamagedError
│   └── CheckpointFormatError
└── RunError                 a search or an evaluation that cannot start or go on
    ├── DivergedError        a fit whose loss is no longer a number
    └── WorkerLostError      a fit on several workers, one of which is gone

Each error says what was found, what was expected, and the remedy.
"""


class GenreRayError(Exception):
    """Root of all errors that genre_ray raises on purpose.

    `found`, `expected` and `remedy` are sentences or fragments for people; `str(error)` joins them. Errors survive
    pickling, since Ray carries them between processes.
    """

    def __init__(
        self, message: str, *, found: str | None = None, expected: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.message]
        parts += [f"found: {self.found}"] if self.found else []
        parts += [f"expected: {self.expected}"] if self.expected else []
        parts += [f"remedy: {self.remedy}"] if self.remedy else []
        return "; ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__.copy(), self.args))


def _rebuild(kind: type[GenreRayError], state: dict[str, object], args: tuple[object, ...]) -> GenreRayError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(GenreRayError):
    """A config file, search space or option is wrong; `message` names file, field and value."""


class CatalogError(GenreRayError):
    """A folder or manifest cannot be turned into tracks at all."""


class SplitError(GenreRayError):
    """A protocol cannot be applied to the tracks at hand."""


class TrackError(GenreRayError):
    """One track cannot be used. `kind` is a short stable slug ("truncated", "silent", ...) for counting and reports."""

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        track: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, found=found, expected=expected, remedy=remedy)
        self.kind = kind
        self.track = track


class AudioError(TrackError):
    """The sound of a track cannot be read, is refused by a limit, or carries no signal."""


class FigureError(TrackError):
    """A spectrogram figure cannot be read or is not of the expected form."""


class FeatureError(TrackError):
    """A feature row is incomplete, not numeric or not finite."""


class NotFittedError(GenreRayError):
    """`fit` has not been called."""


class CheckpointError(GenreRayError):
    """A checkpoint directory cannot be used."""


class CheckpointNotFoundError(CheckpointError):
    """There is no checkpoint at the path."""


class CheckpointDamagedError(CheckpointError):
    """A file of the checkpoint is missing, cut short or does not match its checksum."""


class CheckpointFormatError(CheckpointError):
    """The checkpoint is of another format version, or not one of ours."""


class RunError(GenreRayError):
    """A search or an evaluation cannot start, or cannot be resumed."""


class DivergedError(RunError):
    """The training loss became infinite or not a number; a search penalises the trial and goes on."""


class WorkerLostError(RunError):
    """A worker of a data-parallel fit is gone; the fit goes on from its last saved state on new ones."""
