"""RunResult, one scored run, and what several runs say together. Knows nothing about HTML."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from genre_ray.intervals import Summary
from genre_ray.metrics import GenreRow, Scores, ece_of_perfect, score, summarise


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One fit, scored once on the test part of one split.

    `history` has one mapping an epoch (the fields of EpochResult). `tracks` names the rows of `probabilities` (N, L)
    and `targets` (N,). `leaks` is the split's one line. `fitted_on` says which parts were fitted, `n_train` how many
    tracks.
    """

    name: str
    scores: Scores
    leaks: str
    tracks: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]] = field(compare=False)
    targets: NDArray[np.integer[Any]] = field(compare=False)
    history: tuple[Mapping[str, Any], ...] = ()
    split: str = ""
    seed: int | None = None
    fitted_on: str = "train"
    n_train: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; probabilities to six digits."""
        return {
            "name": self.name,
            "split": self.split,
            "seed": self.seed,
            "fitted_on": self.fitted_on,
            "n_train": self.n_train,
            "seconds": self.seconds,
            "leaks": self.leaks,
            "scores": self.scores.to_json(),
            "history": [dict(epoch) for epoch in self.history],
            "tracks": list(self.tracks),
            "targets": [int(target) for target in self.targets],
            "probabilities": [[round(float(p), 6) for p in row] for row in self.probabilities],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        plain = {key: data[key] for key in ("name", "split", "seed", "fitted_on", "n_train", "seconds", "leaks")}
        return cls(
            **plain,
            scores=Scores.from_json(data["scores"]),
            history=tuple(data["history"]),
            tracks=tuple(data["tracks"]),
            targets=np.array(data["targets"], dtype=np.int64),
            probabilities=np.array(data["probabilities"], dtype=np.float64),
        )


class FaultLike(Protocol):
    """One kind of fault of a corpus, as `genre_ray.data.faults.Fault` has it."""

    @property
    def kind(self) -> str: ...  # noqa: D102 - said by the class
    @property
    def tracks(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def detail(self) -> str: ...  # noqa: D102
    @property
    def action(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class WrongTrack:
    """A track that was called wrong: how sure of it, and in how many of the runs that tested it."""

    track: str
    true: str
    predicted: str
    probability: float
    probability_of_true: float
    wrong_runs: int
    runs: int


@dataclass(frozen=True, slots=True)
class Pooled:
    """All runs together: scores over every tested row, how many different tracks these are, and `ece_of_perfect`.

    Seeds that meet the same track tell little more than one: the intervals and `ece_of_perfect` are those of as many
    tests as there are different tracks.
    """

    scores: Scores
    per_genre: tuple[GenreRow, ...]
    tracks: int
    times_tested: float
    ece_of_perfect: float


def summary_of(runs: Sequence[RunResult]) -> dict[str, Summary]:
    """Means over runs with their intervals; seeds of one split first averaged, folds corrected for shared tracks.

    Of several seeds of one split, accuracy and macro F1 have the interval over its tracks: what another seed would give
    says nothing about other tracks.
    """
    n_train = float(np.mean([run.n_train for run in runs]))
    n_test = float(np.mean([run.scores.n for run in runs]))
    ratio = n_test / n_train if n_train else 0.0
    splits = [run.split or run.name for run in runs]
    found = summarise([run.scores for run in runs], splits=splits, test_to_train=ratio)
    if len(runs) > 1 and len(set(splits)) == 1:
        pooled = pool(runs)
        basis = f"{pooled.tracks} test tracks, mean of {len(runs)} training seeds"
        for name, interval in (
            ("accuracy", pooled.scores.accuracy_interval),
            ("macro_f1", pooled.scores.macro_f1_interval),
        ):
            found[name] = replace(found[name], interval=interval, basis=basis)
    return found


def pool(runs: Sequence[RunResult]) -> Pooled:
    """Every tested row of every run as one set; support, interval and `ece_of_perfect` count each track once."""
    probabilities = np.concatenate([run.probabilities for run in runs]).astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # rows came through JSON with six digits
    genre_of = {track: int(target) for run in runs for track, target in zip(run.tracks, run.targets, strict=True)}
    n = len(genre_of)
    scores = score(probabilities, np.concatenate([run.targets for run in runs]), runs[0].scores.labels, tracks=n)
    place = {track: row for row, track in enumerate(genre_of)}
    of_track = np.zeros((n, len(scores.labels)))
    np.add.at(of_track, [place[track] for run in runs for track in run.tracks], probabilities)
    of_track /= of_track.sum(axis=1, keepdims=True)
    distinct = np.bincount(list(genre_of.values()), minlength=len(scores.labels))
    rows = tuple(replace(row, support=int(n)) for row, n in zip(scores.per_genre, distinct, strict=True))
    return Pooled(scores, rows, n, scores.n / n, ece_of_perfect(of_track))


def worst_tracks(runs: Sequence[RunResult], limit: int = 20) -> list[WrongTrack]:
    """Tracks that the mean over the runs calls wrong, the most confidently wrong ones first."""
    rows: dict[str, list[NDArray[np.floating[Any]]]] = defaultdict(list)
    target_of: dict[str, int] = {}
    for run in runs:
        for track, row, target in zip(run.tracks, run.probabilities, run.targets, strict=True):
            rows[track].append(row)
            target_of[track] = int(target)
    labels = runs[0].scores.labels
    wrong = []
    for track, drawn in rows.items():
        mean, target = np.mean(drawn, axis=0), target_of[track]
        top = int(np.argmax(mean))
        if top != target:
            misses = sum(int(np.argmax(row)) != target for row in drawn)
            p_top, p_true = float(mean[top]), float(mean[target])
            wrong.append(WrongTrack(track, labels[target], labels[top], p_top, p_true, misses, len(drawn)))
    return sorted(wrong, key=lambda w: (-w.probability, w.probability_of_true, w.track))[:limit]
