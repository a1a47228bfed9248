"""What a finished search says of itself. Knows nothing about how it came about."""

from dataclasses import dataclass
from pathlib import Path

from genre_ray.config import RunConfig
from genre_ray.report import RunResult

BEST = "best"
"""Folder of the winner's checkpoint."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What was fitted again and scored: each fit alone, and all of them as one checkpoint.

    `run` and `trial` are of the trial with the largest share, `trials` counts those that are mixed.
    """

    name: str
    run: RunConfig
    trial: int
    trials: int
    singles: tuple[RunResult, ...]
    combined: RunResult
    path: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a finished search lies and how it scored on the test part; the first entry is the winner."""

    folder: Path
    entries: tuple[Entry, ...]

    @property
    def best(self) -> Path:
        """The winner's checkpoint."""
        return self.folder / BEST

    def text(self) -> str:
        """The closing lines for a terminal."""
        lines = [f"test part, scored once ({self.entries[0].combined.leaks}):"]
        for entry in self.entries:
            for result in (*entry.singles, entry.combined) if len(entry.singles) > 1 else (entry.combined,):
                low, high = result.scores.accuracy_interval
                lines.append(
                    f"  {result.name:<28} accuracy {result.scores.accuracy:.3f} [{low:.3f}, {high:.3f}]"
                    f"  macro F1 {result.scores.macro_f1:.3f}  ECE {result.scores.ece:.3f}"
                )
        lines += [
            f"checkpoint  {self.best}",
            f"report      {self.folder / 'report.html'}",
            f"trials      {self.folder / 'search.html'}",
            "serve it    serve run serve_configs/hybrid.yaml",
        ]
        return "\n".join(lines)
