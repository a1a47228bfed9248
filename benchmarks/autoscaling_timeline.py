"""Draws how many nodes a cluster had, second by second, as tests/integration/cluster/test_autoscaling.py saw it.

GENRE_RAY_TIMELINE=timeline.json pytest tests/integration/cluster/test_autoscaling.py
python benchmarks/autoscaling_timeline.py timeline.json docs/autoscaling.svg
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt


def draw(timeline: list[tuple[float, int, int]], target: Path) -> None:
    """A step line of the nodes that are up, and under it those on their way; `timeline` has seconds, up, pending."""
    seconds = [entry[0] for entry in timeline]
    figure, axes = plt.subplots(figsize=(8, 2.4), layout="constrained")
    axes.step(seconds, [entry[1] for entry in timeline], where="post", label="nodes up", linewidth=2)
    axes.step(
        seconds, [entry[2] for entry in timeline], where="post", label="on their way", linestyle=":", linewidth=1.5
    )
    axes.set(xlabel="seconds", ylabel="worker nodes", xlim=(0, seconds[-1] + 15))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="center right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
