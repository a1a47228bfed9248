"""The paths of the service, by which traces know a request. Knows nothing about what answers."""

POSTS = ("/v1/predict", "/v1/predict/audio", "/v1/predict/batch", "/v1/audio-classification")
"""Those that take a body."""


def reads(name: str) -> tuple[str, ...]:
    """Those that tell of the service and of the model called `name`."""
    model = f"/v2/models/{name}"
    return ("/v1/model", "/v2", "/v2/health/live", "/v2/health/ready", model, f"{model}/ready")
