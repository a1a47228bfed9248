"""What is wrong with a corpus, each kind counted and listed once. Knows nothing about how a fault is found."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace

MEANINGS: dict[str, str] = {
    "missing-figure": "no spectrogram figure",
    "missing-audio": "no audio file",
    "missing-row": "no feature row",
    "unreadable-figure": "the figure is not a whole picture",
    "unreadable-audio": "the audio file has no readable header or no sound",
    "wrong-size-figure": "the figure is not of the size of GTZAN's",
    "bad-row": "the feature row has a value that is missing, not numeric or not finite",
    "label-disagreement": "the table's label is not the folder's",
    "unknown-label": "no label, or one that is not known here",
    "duplicate": "exact copies of another track",
    "conflicting-duplicate": "exact copies under two labels",
    "duplicate-id": "two files or rows for one track",
    "empty-genre": "a genre folder without a usable track",
    "ignored-file": "neither audio nor a figure",
    "unreadable-name": "the file name is not valid UTF-8",
    "artist-crosses-split": "the artist of a test track is also in training",
    "duplicate-crosses-split": "a copy of a test track is in training",
}
"""Kinds of fault that the catalog and the splits report; the pipeline adds those of TrackError.kind."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault: which tracks have it (all of them), what was found, and what was done about it.

    `tracks` holds track ids; names of files or folders where there is no track; "a = b" for copies. `left_out` are
    those of them that are not in the catalog.
    """

    kind: str
    tracks: tuple[str, ...]
    detail: str
    action: str
    left_out: tuple[str, ...] = ()

    def describe(self, shown: int = 5) -> str:
        """One line: count, kind, the first `shown` tracks, detail and action."""
        names = ", ".join(self.tracks[:shown]) + (f" and {len(self.tracks) - shown} more" * (len(self.tracks) > shown))
        return f"{len(self.tracks)} × {self.kind}: {self.detail} ({names}); {self.action}"

    def to_json(self) -> dict[str, object]:
        """All of it, every track named."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


class FaultLog:
    """Collects findings one at a time; `faults` gives each kind once, in the order in which the kinds were met."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {}
        self._actions: dict[str, str] = {}

    def add(self, kind: str, name: str, found: str = "", *, action: str | None = None) -> None:
        """Notes that track or file `name` has a fault; a second one of the same kind and name is not counted again."""
        self._found.setdefault(kind, {}).setdefault(name, found)
        if action is not None:
            self._actions.setdefault(kind, action)

    def names(self, kind: str) -> tuple[str, ...]:
        """The tracks noted under `kind` so far."""
        return tuple(self._found.get(kind, ()))

    def faults(self, left_out: Collection[str]) -> tuple[Fault, ...]:
        """The findings as faults; tracks in `left_out` are told apart from those that are kept."""
        return tuple(self._fault(kind, entries, left_out) for kind, entries in self._found.items())

    def _fault(self, kind: str, entries: dict[str, str], left_out: Collection[str]) -> Fault:
        gone = tuple(name for name in entries if name in left_out)
        kept = len(entries) - len(gone)
        action = self._actions.get(kind, "kept, with what else they have")
        parts = [f"{len(gone)} left out"] * bool(gone) + (
            [f"{kept} {action}"] if gone and kept else [action] * bool(kept)
        )
        examples = [f"{name}: {found}" for name, found in entries.items() if found][:3]
        detail = MEANINGS.get(kind, kind) + (f", e.g. {'; '.join(examples)}" if examples else "")
        return Fault(kind=kind, tracks=tuple(entries), detail=detail, action=", ".join(parts), left_out=gone)


def merged(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Faults of the same kind made one, so that each kind is listed once; tracks keep their first place."""
    by_kind: dict[str, Fault] = {}
    for fault in faults:
        known = by_kind.get(fault.kind)
        if known is None:
            by_kind[fault.kind] = fault
            continue
        by_kind[fault.kind] = replace(
            known,
            tracks=tuple(dict.fromkeys(known.tracks + fault.tracks)),
            left_out=tuple(dict.fromkeys(known.left_out + fault.left_out)),
            action=known.action if fault.action == known.action else f"{known.action}; {fault.action}",
        )
    return tuple(by_kind.values())


def report(faults: Iterable[Fault], shown: int = 5) -> str:
    """A few lines for people; each kind once."""
    lines = [f"  {fault.describe(shown)}" for fault in faults]
    return "\n".join(["faults:", *lines]) if lines else "faults: none"
