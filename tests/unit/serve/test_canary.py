import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genre_ray.schema import Track
from genre_ray.serve.canary import CanaryEngine
from genre_ray.serve.engine import Engine
from genre_ray.serve.protocol import Inquiry, Options
from genre_ray.serve.settings import Canary, ServeArgs
from genre_ray.serve.telemetry import RayTelemetry


def canary(args: ServeArgs, checkpoint: Path, **shares: float) -> CanaryEngine:
    made = CanaryEngine.of(args.model_copy(update={"canary": Canary(checkpoint=str(checkpoint), **shares)}))
    assert made is not None
    return made


def test_the_share_is_kept_and_an_id_always_goes_the_same_way(args: ServeArgs, other_checkpoint: Path) -> None:
    candidate = canary(args, other_checkpoint, share=0.2)
    ways = [candidate.answers(str(i)) for i in range(4000)]
    assert np.mean(ways) == pytest.approx(0.2, abs=0.02)
    assert ways == [candidate.answers(str(i)) for i in range(4000)]
    assert not any(candidate.shadows(str(i)) for i in range(100))


def test_agreement_is_counted_and_a_failure_is_the_candidates_alone(
    args: ServeArgs, checkpoint: Path, engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    candidate = canary(args, checkpoint, shadow=1.0)
    track = Track(id="t", figure=figure, features=np.array(list(features.values())))
    answered = engine.answer(track, Options())
    candidate.compare(Inquiry(track, Options()), answered)
    candidate.compare(Inquiry(Track(id="broken"), Options()), answered)
    seen = candidate.card()
    assert (seen["compared"], seen["agreed"], seen["failed"]) == (1, 1, 1)


def test_without_a_candidate_there_is_none(args: ServeArgs) -> None:
    assert CanaryEngine.of(args) is None


def test_the_drift_is_of_the_first_models_answers_and_outlives_those_of_the_candidate(
    engine: Engine, figure: bytes, features: dict[str, float]
) -> None:
    telemetry = RayTelemetry(engine)
    answered = engine.answer(Track(id="t", figure=figure, features=np.array(list(features.values()))), Options())

    async def tell() -> None:
        for version in (engine.version, "candidate", engine.version):
            telemetry.answered(dataclasses.replace(answered, version=version))

    asyncio.run(tell())
    assert telemetry._drift.seen == 2
