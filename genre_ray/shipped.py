"""Checkpoints that ship with the package, by name. Knows nothing about what is in them."""

from pathlib import Path

FOLDERS = {
    name: Path(__file__).parent / folder
    for name, folder in (("default", "default_checkpoint"), ("single", "single_checkpoint"))
}
"""`default` is a mixture, and what answers where nobody has trained; `single` the best single model."""


def located(checkpoint: str | Path) -> str | Path:
    """The folder of a checkpoint that ships when `checkpoint` is its name, else `checkpoint`.

    A directory of that name in the working directory goes before.
    """
    folder = FOLDERS.get(str(checkpoint))
    return checkpoint if folder is None or Path(checkpoint).exists() else folder
