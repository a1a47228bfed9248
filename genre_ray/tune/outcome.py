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

    `run` and `trial` are of the trial with the largest share, `trials` counts those that are mixed. Answers of a top
    probability below `unsure_below` are marked unsure; None: no threshold was learnt.
    """

    name: str
    run: RunConfig
    trial: int
    trials: int
    singles: tuple[RunResult, ...]
    combined: RunResult
    path: Path
    unsure_below: float | None

    @property
    def answered(self) -> tuple[float, float] | None:
        """The share of the test tracks that are answered surely, and the share of these that are right."""
        if self.unsure_below is None:
            return None
        sure = self.combined.probabilities.max(axis=1) >= self.unsure_below
        right = self.combined.probabilities.argmax(axis=1) == self.combined.targets
        return float(sure.mean()), float(right[sure].mean()) if sure.any() else 0.0

    def answered_text(self) -> str:
        """The same as a sentence."""
        if self.unsure_below is None or self.answered is None:
            return "No threshold was learnt: none was asked for, or too few tracks were held out."
        if self.unsure_below >= 1.0:
            return "Every answer is marked unsure: at no probability are few enough held-out tracks called wrong."
        share, right = self.answered
        if self.unsure_below == 0.0:
            return f"No answer is unsure: few enough held-out tracks are called wrong. Test part: {right:.3f} right."
        if share == 0.0:
            return f"Unsure below {self.unsure_below:.3f}: no test track is answered."
        return f"Unsure below {self.unsure_below:.3f}: {share:.0%} of the test tracks are answered, {right:.3f} right."


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
            f"  {self.entries[0].answered_text()}",
            f"checkpoint  {self.best}",
            f"report      {self.folder / 'report.html'}",
            f"trials      {self.folder / 'search.html'}",
            "serve it    serve run serve_configs/hybrid.yaml",
        ]
        return "\n".join(lines)
