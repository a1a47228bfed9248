"""The deployments and the typed builder that Serve calls. What they do is in `web`, `engine` and `local`.

Figures: the ingress, decodes and predicts in place. Recordings: audio, with a queue and an autoscaling of its own.
No `from __future__ import annotations` here: Ray would then not validate the builder's arguments.
"""

import asyncio
import gc
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from genre_ray.checkpoint import version_of
from genre_ray.config import parse
from genre_ray.schema import Clip, Prediction
from genre_ray.serve.accesslog import AccessLog
from genre_ray.serve.canary import CanaryEngine
from genre_ray.serve.edge import http_host
from genre_ray.serve.engine import Answered, Engine
from genre_ray.serve.gate import Gate
from genre_ray.serve.grpc_api.servicing import Servicing
from genre_ray.serve.local import audio_members, card_of, in_place
from genre_ray.serve.problems import Problem, Refusal, problem_of
from genre_ray.serve.protocol import Inquiry
from genre_ray.serve.settings import ServeArgs, UserConfig, find_checkpoint
from genre_ray.serve.telemetry import BatchSizes, RayTelemetry
from genre_ray.serve.tokens import require_token_beyond_loopback, tokens_from_environment
from genre_ray.serve.tracing import Application as Asgi
from genre_ray.serve.tracing import traced
from genre_ray.serve.web import WebApplication

logger = logging.getLogger(__name__)

_WARM_WAIT_S = 5.0
"""How long a recording waits for the first replica that is warm: compiling may take a minute on a new machine."""

_LARGEST_BY_VALUE = 3 * 1024**2
"""What Serve sends directly to another deployment must be smaller than 4 MB; by reference takes some 3 ms longer."""


def app(args: ServeArgs) -> Application:
    """Build the application. Raises what a person can act on before any replica is tried: no checkpoint, no token."""
    checkpoint = find_checkpoint(args)
    version_of(checkpoint)
    if args.canary is not None:
        version_of(args.canary.checkpoint)
    token_required = require_token_beyond_loopback(args.security.auth, http_host(), tokens_from_environment())
    recordings = Recordings.bind(args, checkpoint)  # type: ignore[attr-defined]
    return Figures.bind(args, checkpoint, token_required, recordings)  # type: ignore[attr-defined, no-any-return]


def _access_log() -> AccessLog:
    """Beside Serve's own logs."""
    from ray._private.worker import _global_node

    folder = Path(_global_node.get_logs_dir_path()) if _global_node is not None else Path.cwd()
    return AccessLog(folder / "serve" / f"access_{serve.get_replica_context().replica_id.unique_id}.log")


def _log_with_serve() -> None:
    """Our own words go where Serve's go. Else they are taken for output and wait until a thousand lines are there."""
    ours, serves = logging.getLogger("genre_ray"), logging.getLogger("ray.serve")
    ours.handlers, ours.propagate = list(serves.handlers), False
    ours.setLevel(serves.level or logging.INFO)


class _Replica:
    """What both deployments share: an engine, and its exchange while requests go on."""

    def __init__(self, args: ServeArgs, checkpoint: str) -> None:
        _log_with_serve()
        self._default = checkpoint
        self._engine = Engine(args, checkpoint)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """A change of `user_config`: the new checkpoint is loaded, checked and warmed beside the old one."""
        config = parse(UserConfig, user_config, origin="user_config")
        await asyncio.to_thread(self._engine.reconfigure, config, default=self._default)

    async def state(self) -> dict[str, Any]:
        """Version, checkpoint, the last refusal and the process, for `promote` and for people who look closer."""
        engine = self._engine
        return {
            "version": engine.version,
            "checkpoint": engine.checkpoint,
            "refused": engine.refused,
            "pid": os.getpid(),
        }


@serve.deployment(max_ongoing_requests=4, max_queued_requests=16)
class Recordings(_Replica):
    """Answers recordings, one at a time in a thread of its own, so that health checks are answered meanwhile."""

    def __init__(self, args: ServeArgs, checkpoint: str) -> None:
        super().__init__(args, checkpoint)
        self._engine.warm_audio()
        self._telemetry = RayTelemetry(self._engine)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")

    async def answer(self, inquiry: Inquiry) -> dict[str, Any] | Problem:
        """The members of an answer, or the problem: an exception would cross the wire with its traceback."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._answer, inquiry, time.perf_counter())
        except Exception as error:
            problem = problem_of(error)
            if problem.status == 500:
                logger.exception("recording %s failed", inquiry.track.id)
            return problem

    def _answer(self, inquiry: Inquiry, came: float) -> dict[str, Any]:
        waited_s = time.perf_counter() - came
        answered = self._engine.answer(inquiry.track, inquiry.options)
        answered.stages["queue"] = waited_s
        self._telemetry.answered(answered)
        return audio_members(answered, self._engine)


@serve.deployment(max_ongoing_requests=512, max_queued_requests=64)
@serve.ingress()
class Figures(_Replica):
    """The ingress: HTTP, figures in place, recordings by way of the other deployment. A Backend of `web`."""

    def __init__(
        self, args: ServeArgs, checkpoint: str, token_required: bool, recordings: DeploymentHandle[Any]
    ) -> None:
        super().__init__(args, checkpoint)
        self._engine.warm_figure()
        gc.collect()
        gc.freeze()  # what is loaded now stays: no request waits until all of it was looked through
        self._args = args
        self._canary = CanaryEngine.of(args)
        self._gate = Gate(args.security, tokens_from_environment(), token_required=token_required)
        self._servicing = Servicing(self, args, self._gate)
        self._recordings = recordings
        self._recordings_warm = asyncio.Event()
        self._hearing: asyncio.Task[None] | None = None
        batching = args.batching
        on_gpu = self._engine.predictor.device.type == "cuda"
        self._batch_sizes = BatchSizes()
        self._together = in_place(self._engine, self._batch_sizes.add)
        self._on_processor = not (batching.when == "always" or (batching.when == "gpu" and on_gpu))
        self._forward.set_max_batch_size(batching.max_batch_size)  # type: ignore[attr-defined]
        self._forward.set_batch_wait_timeout_s(batching.wait_s)  # type: ignore[attr-defined]

    def __serve_build_asgi_app__(self) -> Asgi:
        web = WebApplication(
            self,
            self._args,
            gate=self._gate,
            telemetry=RayTelemetry(self._engine, _access_log() if self._args.access_log else None),
            adds_request_id=False,  # Serve's own middleware does
        )
        return traced(web, service=self._args.name)

    @property
    def ready(self) -> bool:
        """Whether recordings are answered, too: this replica itself is warm since its constructor."""
        self._listen()
        return self._recordings_warm.is_set()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """As of every replica. Serve calls it once before the replica takes requests, too."""
        await super().reconfigure(user_config)
        self._listen()

    async def state(self) -> dict[str, Any]:
        """As of every replica, and whether recordings are answered."""
        self._listen()
        return await super().state() | {"recordings_warm": self._recordings_warm.is_set()}

    def _listen(self) -> None:
        if self._hearing is None:
            self._hearing = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> None:
        """Ask for the recordings' replica until one answers: its constructor has then warmed the model."""
        while not self._recordings_warm.is_set():
            try:
                await self._recordings.state.remote()
                self._recordings_warm.set()
            except (BackPressureError, DeploymentUnavailableError, RayError):
                await asyncio.sleep(1.0)

    @property
    def version(self) -> str:
        """Version of the model that answers now."""
        return self._engine.version

    def card(self) -> dict[str, Any]:
        """What the model is."""
        return card_of(self._engine) | ({} if self._canary is None else {"canary": self._canary.card()})

    async def answer_figure(self, inquiry: Inquiry, request_id: str) -> Answered:
        """In place on the CPU, those that wait several at once; on a GPU requests wait for each other a moment."""
        if self._canary is not None and self._canary.answers(request_id):
            return self._canary.engine.answer(inquiry.track, inquiry.options)
        answered = await self._by_the_first(inquiry)
        if self._canary is not None and self._canary.shadows(request_id):
            asyncio.get_running_loop().call_soon(self._canary.compare, inquiry, answered)
        return answered

    async def _by_the_first(self, inquiry: Inquiry) -> Answered:
        if self._on_processor:
            return await self._together(inquiry)
        if inquiry.options.explain:
            return self._engine.answer(inquiry.track, inquiry.options)
        clips = self._engine.clips(inquiry.track)
        found = await self._forward((inquiry.track.id, clips))
        if isinstance(found, Exception):
            raise found
        prediction, version = found
        return Answered(prediction=prediction, version=version, options=inquiry.options, clips=tuple(clips))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.004)
    async def _forward(self, items: list[tuple[str, list[Clip]]]) -> list[tuple[Prediction, str] | Exception]:
        """One forward pass for many requests; an item that fails is its error, or the whole batch would fail."""
        self._batch_sizes.add(len(items))
        return await asyncio.to_thread(self._engine.forward_many, items)

    async def Predict(self, request: Any, grpc_context: Any) -> Any:
        """gRPC: a figure and its features."""
        return await self._servicing.predict(request, grpc_context)

    async def PredictAudio(self, request: Any, grpc_context: Any) -> Any:
        """gRPC: a recording."""
        return await self._servicing.predict_audio(request, grpc_context)

    async def Model(self, request: Any, grpc_context: Any) -> Any:
        """gRPC: what the model is."""
        return await self._servicing.model(request, grpc_context)

    async def answer_audio(self, inquiry: Inquiry, request_id: str) -> dict[str, Any]:
        """Ask the other deployment. Refusal 429 when its queue is full, 503 when none of its replicas answers yet."""
        self._listen()
        try:
            await asyncio.wait_for(self._recordings_warm.wait(), _WARM_WAIT_S)
        except TimeoutError as error:
            raise Refusal(503, "not-ready", "recordings are not answered yet", retry_after_s=5) from error
        audio, recordings = inquiry.track.audio, self._recordings
        if isinstance(audio, bytes) and len(audio) > _LARGEST_BY_VALUE:
            recordings = recordings.options(_by_reference=True)
        try:
            answer: dict[str, Any] | Problem = await recordings.answer.remote(inquiry)
        except BackPressureError as error:
            raise Refusal(
                429, "overloaded", "the queue for recordings is full", found=str(error)[:120], retry_after_s=2
            ) from error
        except (DeploymentUnavailableError, RayError) as error:
            raise Refusal(
                503, "not-ready", "no replica for recordings answers at the moment", retry_after_s=5
            ) from error
        if isinstance(answer, Problem):
            raise answer.refusal()
        return answer
