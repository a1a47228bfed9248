"""Processor time a figure costs when one, two, four or eight are answered at once, as a loaded replica answers them.

    python benchmarks/turns.py [--checkpoint DIR] [--rounds 25]

Each round does all sizes once, in turn; a ratio is the median of the rounds' ratios. One thread, in this process.
"""

import argparse
import statistics
import time

import numpy as np
from serve import figure

from genre_ray.schema import Track
from genre_ray.serve.engine import Engine
from genre_ray.serve.protocol import Inquiry, Options
from genre_ray.serve.settings import ServeArgs, find_checkpoint

SIZES = (1, 2, 4, 8)
REPEATS = 10


def cost_ms(engine: Engine, inquiry: Inquiry, size: int) -> float:
    """Processor ms a figure."""
    started = time.process_time()
    for _ in range(REPEATS):
        engine.answer_many([inquiry] * size)
    return (time.process_time() - started) / REPEATS / size * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="default: what the service itself would take")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    args = ServeArgs(checkpoint=options.checkpoint, device="cpu")
    engine = Engine(args, find_checkpoint(args))
    engine.warm_figure()
    inquiry = Inquiry(Track(id="r", figure=figure(), features=np.full(57, 0.5)), Options())
    rounds = [{size: cost_ms(engine, inquiry, size) for size in SIZES} for _ in range(options.rounds)]
    for size in SIZES:
        cost = statistics.median(row[size] for row in rounds)
        ratio = statistics.median(row[size] / row[1] for row in rounds)
        print(f"{size} at once: {cost:.2f} ms a figure, {ratio:.2f} of one by itself")


if __name__ == "__main__":
    main()
