"""`genre-ray promote`: another checkpoint for a running service.

Parses, calls, prints; knows nothing about services.
"""

import argparse

NAME = "promote"
SUMMARY = "give a running service another checkpoint, without losing a request"
DESCRIPTION = """Let a running service answer with another checkpoint. It is opened and tried here first; when a replica
refuses it, the old one is set again."""
EXAMPLES = """examples:
  genre-ray promote results/hybrid-2/best
  genre-ray promote s3://bucket/results/hybrid/best --address auto
"""


def add_options(options: argparse.ArgumentParser) -> None:
    """The options of this subcommand."""
    options.add_argument("checkpoint", help="checkpoint directory or URI that the replicas can read")
    options.add_argument("--application", default="genre", help="name of the application (default: genre)")
    options.add_argument("--address", help="Ray that the service runs in (default: the one of this machine)")
    options.add_argument("--allow-new-labels", action="store_true", help="even if it answers with other genres")
    options.add_argument(
        "--timeout", type=_seconds, default=120.0, metavar="S", help="for all replicas, s (default: 120)"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0.0:
        raise argparse.ArgumentTypeError(f"{text!r}: give seconds above 0")
    return seconds


def run(options: argparse.Namespace) -> int:
    """Promote, and print from which version to which."""
    from genre_ray.serve.promotion import promote

    done = promote(
        options.checkpoint,
        application=options.application,
        address=options.address,
        allow_new_labels=options.allow_new_labels,
        timeout_s=options.timeout,
    )
    print(f"{done.before} -> {done.after}: {done.replicas} replicas in {done.seconds:.1f} s")
    return 0
