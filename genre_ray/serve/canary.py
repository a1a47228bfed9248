"""A second model beside the first: a share of the requests is its own, another is answered by both and compared.

Knows nothing about Ray or HTTP.
"""

import hashlib
import logging
from typing import Any, Self

from genre_ray.serve.engine import Answered, Engine
from genre_ray.serve.protocol import Inquiry
from genre_ray.serve.settings import ServeArgs

logger = logging.getLogger(__name__)


class CanaryEngine:
    """The candidate's engine, and what was seen of it: `compared` answers, `agreed` ones, `failed` ones."""

    def __init__(self, engine: Engine, *, share: float, shadow: float) -> None:
        self.engine = engine
        self._share = share
        self._shadow = shadow
        self.compared = self.agreed = self.failed = 0

    @classmethod
    def of(cls, args: ServeArgs) -> Self | None:
        """The candidate that `args` names, None where it names none."""
        if args.canary is None:
            return None
        return cls(Engine(args, args.canary.checkpoint), share=args.canary.share, shadow=args.canary.shadow)

    def answers(self, request_id: str) -> bool:
        """Whether this request is the candidate's; the same id always goes the same way."""
        return _place(request_id, "share") < self._share

    def shadows(self, request_id: str) -> bool:
        """Whether the candidate answers this request too, for comparison only."""
        return _place(request_id, "shadow") < self._shadow

    def compare(self, inquiry: Inquiry, answered: Answered) -> None:
        """Answer once more and note whether the genre is the same. A failure is the candidate's alone."""
        try:
            other = self.engine.answer(inquiry.track, inquiry.options)
        except Exception:
            self.failed += 1
            logger.exception("the candidate failed where the first model answered")
            return
        self.compared += 1
        self.agreed += other.prediction.label == answered.prediction.label

    def card(self) -> dict[str, Any]:
        """Version, shares, and what was seen by this replica."""
        return {
            "version": self.engine.version,
            "share": self._share,
            "shadow": self._shadow,
            "compared": self.compared,
            "agreed": self.agreed,
            "failed": self.failed,
        }


def _place(request_id: str, purpose: str) -> float:
    """A number in 0..1 that the id decides, another one for each purpose."""
    digest = hashlib.blake2b(f"{purpose}:{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
