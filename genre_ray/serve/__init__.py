"""The service: `import_path: genre_ray.serve:app`. Importing it, or its protocol, does not import Ray."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genre_ray.serve.application import app as app
    from genre_ray.serve.promotion import promote as promote
    from genre_ray.serve.running import run as run

_HOMES = {
    "app": "genre_ray.serve.application",
    "run": "genre_ray.serve.running",
    "promote": "genre_ray.serve.promotion",
}

__all__ = ["app", "promote", "run"]


def __getattr__(name: str) -> Any:
    """What needs Ray is imported when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
