"""What the web application needs of whatever answers. Knows nothing about Ray or HTTP."""

from typing import Any, Protocol

from genre_ray.serve.engine import Answered
from genre_ray.serve.protocol import Inquiry


class Backend(Protocol):
    """What answers: in this process, or in other deployments."""

    @property
    def ready(self) -> bool:
        """Whether the model is warm."""

    @property
    def version(self) -> str:
        """Version of the model that answers now."""

    def card(self) -> dict[str, Any]:
        """What the model is: version, labels, inputs, where it comes from."""

    async def answer_figure(self, inquiry: Inquiry, request_id: str) -> Answered:
        """The answer for a figure and its features. TrackError when they cannot be used."""

    async def answer_audio(self, inquiry: Inquiry, request_id: str) -> dict[str, Any]:
        """The members of the answer for a recording. Refusal or TrackError when there is none."""
