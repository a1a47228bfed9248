"""What is wrong with a corpus, each kind counted and listed once. Knows nothing about how a fault is found."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace

MEANINGS: dict[str, str] = {
    "missing-figure": "no spectrogram figure",
    "missing-audio": "no audio file",
    "missing-row": "no feature row",
    "unreadable-figure": "the figure is not a whole picture",
    "unreadable-audio": "the audio file has no readable header or no sound",
    "wrong-size-figure": "the figure is not of the size of GTZAN's",
    "bad-row": "the feature row has no name, or a value that is missing, not numeric or not finite",
    "label-disagreement": "two labels for one track, by folder, name or table",
    "unknown-label": "no label, or one that is not known here",
    "duplicate": "exact copies of another track",
    "conflicting-duplicate": "exact copies under two labels",
    "duplicate-id": "two files or rows for one track",
    "empty-genre": "a genre folder without a usable track",
    "ignored-file": "neither audio nor a figure, or not where they are looked for",
    "ignored-folder": "a folder of music beside those of GTZAN's layout",
    "ignored-link": "a link to a folder that is read already",
    "unreadable-name": "the name is not valid UTF-8",
    "unreadable-folder": "the folder cannot be listed",
    "artist-crosses-split": "the artist of a test track is also in training",
    "duplicate-crosses-split": "a copy of a test track is in training",
}
"""Kinds of fault that the catalog and the splits report; the pipeline adds those of TrackError.kind."""

_LEFT_OUT, _KEPT = "left out", "kept, with what else they have"


@dataclass(frozen=True)
class Fault:
    """One kind of fault: which tracks have it (all of them), what was found, and what was done about it.

    `tracks` holds track ids; names of files or folders where there is no track; "a = b" for copies. `left_out` are
    those of them that are not in the catalog. `further` counts findings beyond the first of a track (a third copy).
    """

    kind: str
    tracks: tuple[str, ...]
    detail: str
    action: str
    left_out: tuple[str, ...] = ()
    further: int = 0

    @property
    def count(self) -> int:
        """All findings."""
        return len(self.tracks) + self.further

    def describe(self, shown: int = 5) -> str:
        """One line: count, kind, the first `shown` tracks, detail and action."""
        names = ", ".join(self.tracks[:shown]) + (f" and {len(self.tracks) - shown} more" * (len(self.tracks) > shown))
        return f"{self.count} × {self.kind}: {self.detail} ({names}); {self.action}"

    def to_json(self) -> dict[str, object]:
        """All of it, every track named."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain | {"count": self.count}


@dataclass(slots=True)
class _Finding:
    action: str
    found: list[str] = field(default_factory=list)


class FaultLog:
    """Collects findings one at a time; `faults` gives each kind once, in the order in which the kinds were met."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, _Finding]] = {}

    def add(self, kind: str, name: str, found: str = "", *, action: str = _KEPT, again: bool = False) -> None:
        """Notes that track or file `name` has a fault, and what was done about it.

        A second one of the same kind and name is counted only if it is one `again`, as a third copy is.
        """
        finding = self._found.setdefault(kind, {}).setdefault(name, _Finding(action))
        if again or not finding.found:
            finding.found.append(found)

    def names(self, kind: str) -> tuple[str, ...]:
        """The tracks noted under `kind` so far."""
        return tuple(self._found.get(kind, ()))

    def faults(self, left_out: Collection[str]) -> tuple[Fault, ...]:
        """The findings as faults; tracks in `left_out` are told apart from those that are kept."""
        return tuple(_fault(kind, entries, left_out) for kind, entries in self._found.items())


def _fault(kind: str, entries: dict[str, _Finding], left_out: Collection[str]) -> Fault:
    done = Counter(_LEFT_OUT if name in left_out else entry.action for name, entry in entries.items())
    parts = [f"{done[action]} {action}" for action in sorted(done, key=lambda action: action != _LEFT_OUT)]
    examples = [f"{name}: {found}" for name, entry in entries.items() for found in entry.found if found][:3]
    return Fault(
        kind=kind,
        tracks=tuple(entries),
        detail=MEANINGS.get(kind, kind) + (f", e.g. {'; '.join(examples)}" if examples else ""),
        action=next(iter(done)) if len(done) == 1 and _LEFT_OUT not in done else ", ".join(parts),
        left_out=tuple(name for name in entries if name in left_out),
        further=sum(len(entry.found) - 1 for entry in entries.values()),
    )


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
            further=known.further + fault.further,
            action=known.action if fault.action == known.action else f"{known.action}; {fault.action}",
        )
    return tuple(by_kind.values())


def report(faults: Iterable[Fault], shown: int = 5) -> str:
    """A few lines for people; each kind once."""
    lines = [f"  {fault.describe(shown)}" for fault in faults]
    return "\n".join(["faults:", *lines]) if lines else "faults: none"
