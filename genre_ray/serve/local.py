"""A Backend in this process: one engine that answers figures and recordings alike. Knows nothing about Ray.

What tests, benchmarks and a plain ASGI server use; under Serve, recordings have their own deployment.
"""

from collections.abc import Callable, Sequence
from typing import Any

from genre_ray.serve.admission import Together
from genre_ray.serve.engine import TOGETHER, Answered, Engine
from genre_ray.serve.protocol import Inquiry
from genre_ray.serve.web import prediction_of_answer

_LONGEST_S = 0.05  # that the event loop is away from refusals, health checks and the bodies of others


class LocalBackend:
    """Answers with `engine`, one request at a time, in the caller's thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._together = in_place(engine)

    @property
    def ready(self) -> bool:
        """An engine is warm once it is there."""
        return True

    @property
    def version(self) -> str:
        """Version of the engine's model."""
        return self.engine.version

    def card(self) -> dict[str, Any]:
        """What the model is."""
        return card_of(self.engine)

    async def answer_figure(self, inquiry: Inquiry, request_id: str) -> Answered:
        """Decode and predict here and now."""
        return await self._together(inquiry)

    async def answer_audio(self, inquiry: Inquiry, request_id: str) -> dict[str, Any]:
        """The same for a recording."""
        return audio_members(self.engine.answer(inquiry.track, inquiry.options), self.engine)


def in_place(engine: Engine, told: Callable[[int], None] = lambda size: None) -> Together[Inquiry, Answered]:
    """Figures answered in the event loop, those that wait several at once; `told` is told how many."""

    def answer(inquiries: Sequence[Inquiry]) -> list[Answered | Exception]:
        told(len(inquiries))
        return engine.answer_many(inquiries)

    return Together(answer, most=TOGETHER, longest_s=_LONGEST_S)


def audio_members(answered: Answered, engine: Engine) -> dict[str, Any]:
    """The members of an answer for a recording, with `version` and `stages`; plain values that travel anywhere."""
    members = prediction_of_answer(answered, answered.options, engine.args)
    return members | {"version": answered.version, "stages": answered.stages}


def card_of(engine: Engine) -> dict[str, Any]:
    """What the model is and what the service accepts, for people and for the protocol's metadata."""
    inputs, limits = engine.predictor.inputs, engine.args.limits
    picture = inputs.spectrogram
    manifest = engine.predictor.manifest
    return {
        "version": engine.version,
        "labels": list(engine.labels),
        "spectrogram": picture.form if picture else None,
        "size": picture.size if picture and picture.form == "figure" else None,
        "features": inputs.features is not None,
        "clip_s": inputs.clip.duration_s,
        "members": len(engine.predictor.members),
        "created": manifest.get("created"),
        "trained_on": manifest.get("data", {}).get("name"),
        "protocol": manifest.get("data", {}).get("protocol"),
        "refused": engine.refused is not None,
        "limits": {
            "body_bytes": limits.max_body_bytes,
            "audio_bytes": limits.max_audio_bytes,
            "audio_s": limits.max_audio_s,
            "pixels": limits.max_pixels,
            "batch_items": limits.max_batch_items,
        },
    }
