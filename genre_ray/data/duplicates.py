"""Which tracks are exact copies of one another. Knows nothing about files: it compares digests and feature rows."""

from collections.abc import Iterable, Mapping, Sequence

from genre_ray.data.drafts import Draft
from genre_ray.data.faults import FaultLog
from genre_ray.data.verification import Inspection

Groups = tuple[tuple[str, ...], ...]


def duplicate_groups(kept: Sequence[tuple[Draft, Inspection]], known: Iterable[tuple[str, str]]) -> Groups:
    """Ids of tracks that share the content of a figure, of audio, or a whole feature row; and `known` pairs."""
    leader = {draft.id: draft.id for draft, _ in kept}

    def find(key: str) -> str:
        while leader[key] != key:
            key = leader[key]
        return key

    def join(a: str, b: str) -> None:
        low, high = sorted((find(a), find(b)))
        leader[high] = low

    first: dict[object, str] = {}
    for draft, seen in kept:
        row = None if draft.features is None else draft.features.tobytes()
        figure = seen.figure.digest if draft.figure and seen.figure else None
        audio = seen.audio.digest if draft.audio and seen.audio else None
        for content in (row, figure, audio):
            if content is not None:
                join(first.setdefault(content, draft.id), draft.id)
    for a, b in known:
        if a in leader and b in leader:
            join(a, b)
    groups: dict[str, list[str]] = {}
    for key in leader:
        groups.setdefault(find(key), []).append(key)
    return tuple(tuple(sorted(group)) for _, group in sorted(groups.items()) if len(group) > 1)


def note_duplicates(groups: Groups, labels: Mapping[str, str | None], log: FaultLog) -> None:
    """Reports each group once, as copies of one genre or as copies under several."""
    for group in groups:
        if len({labels[key] for key in group}) > 1:
            names = " = ".join(f"{key} ({labels[key]})" for key in group)
            action = "kept, each with its own label; counted where they cross a split"
            log.add("conflicting-duplicate", names, action=action)
        else:
            log.add("duplicate", " = ".join(group), action="kept; counted where they cross a split")
