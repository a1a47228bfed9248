"""One thing that is wrong in a file, said so that it can be put right. Knows nothing about what the file is for."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A field, what is wrong with it, and the remedy.

    `field` is a dotted place in the file, `value` what stands there, or None when nothing does.
    """

    field: str
    what: str
    remedy: str
    value: object = None

    def text(self, origin: str) -> str:
        """`origin: field: what (value ...); remedy`, the form of all of genre_ray's messages about files."""
        shown = "" if self.value is None else f" (value {_short(self.value)})"
        return f"{origin}: {self.field}: {self.what}{shown}; {self.remedy}"


def spelling(word: object, known: Iterable[str]) -> str:
    """A remedy for a word that is not among the known ones: the nearest of them, or a list."""
    names = sorted(set(known))
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(word).lower(), list(lower), n=1, cutoff=0.6)
    if near:
        return f"did you mean {lower[near[0]]}?"
    shown = ", ".join(names[:30])
    return f"known: {shown}{', ...' if len(names) > 30 else ''}"


def inside(place: str, part: object) -> str:
    """The place of a part (a key or an index) within a place; the whole file is the empty place."""
    return f"{place}.{part}" if place else str(part)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
