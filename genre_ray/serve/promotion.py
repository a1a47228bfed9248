"""`genre-ray promote`: another checkpoint for a running service, and back again if it is refused.

Knows nothing about requests, of which none is lost meanwhile.
"""

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.schema import ServeDeploySchema

from genre_ray.checkpoint import version_of
from genre_ray.errors import CheckpointError, RunError
from genre_ray.inference import Predictor
from genre_ray.serve.config import DEPLOYMENTS, IMPORT_PATH
from genre_ray.shipped import located

logger = logging.getLogger(__name__)

_HEARD_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What a promotion did: versions before and after, the replicas that answer with the new one, seconds."""

    before: str
    after: str
    replicas: int
    seconds: float


def promote(
    checkpoint: str,
    *,
    application: str = "genre",
    address: str | None = None,
    allow_new_labels: bool = False,
    timeout_s: float = 120.0,
) -> Promoted:
    """Let every replica of the running `application` answer with `checkpoint`.

    The checkpoint is opened and tried here first. Whatever ends the promotion before all replicas answer with it, the
    old one is set again: CheckpointError tells a replica's reason to refuse it, RunError that time ran out. RunError
    when there is no such service, too.
    """
    if not timeout_s > 0.0:
        raise RunError("a promotion takes time", found=f"timeout_s {timeout_s}", expected="seconds above 0")
    checkpoint = _from_anywhere(checkpoint)
    Predictor.open(checkpoint, device="cpu").warm_up()
    wanted = version_of(checkpoint)
    if not ray.is_initialized():
        connect_to_running(address)
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        raise RunError("no service is running here", remedy="start one with `genre-ray serve`, or give its --address")
    start = time.monotonic()
    old = _deployed(client, application)
    before = replica_states(application)
    try:
        _deploy(client, old, application, {"checkpoint": checkpoint, "allow_new_labels": allow_new_labels})
        states = _wait(application, wanted, checkpoint, timeout_s)
    except BaseException:  # an interruption, too: else replicas would go on changing over
        _deploy(client, old, application, None)
        raise
    return Promoted(
        before=before[0]["version"] if before else "",
        after=wanted,
        replicas=len(states),
        seconds=round(time.monotonic() - start, 3),
    )


def _from_anywhere(checkpoint: str) -> str:
    """As replicas find it, whose working directory is another: URIs and names of what ships stay as they are."""
    if "://" in checkpoint or located(checkpoint) != checkpoint:
        return checkpoint
    return str(Path(checkpoint).expanduser().resolve())


def connect_to_running(address: str | None) -> None:
    """Join the Ray that the service runs in; RunError when it does not answer.

    A Ray that was started on this machine asks for the token in the home folder, which `ray.init` with an address does
    not look for by itself.
    """
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        ray.init(address=address or "auto", namespace="serve", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(
            f"no Ray cluster answers at {address or 'auto'}",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy="give the address that `genre-ray serve` printed, or run this on a node of the cluster",
        ) from error


def _deployed(client: Any, application: str) -> dict[str, Any]:
    """The configuration of every application as it was deployed; `deploy` replaces all of them at once."""
    details = client.get_serve_details()
    applications = {
        name: found["deployed_app_config"]
        for name, found in details["applications"].items()
        if found.get("deployed_app_config") is not None
    }
    if application not in applications or applications[application]["import_path"] != IMPORT_PATH:
        raise RunError(
            f"there is no application {application!r} of genre_ray that was deployed from a file",
            found=", ".join(sorted(details["applications"])) or "no application at all",
            remedy="name the application as in the YAML file that it was started from",
        )
    return applications


def _deploy(client: Any, applications: dict[str, Any], name: str, user_config: dict[str, Any] | None) -> None:
    """Deploy again; None for `user_config` is each deployment's own, as it was before."""
    applications = copy.deepcopy(applications)
    deployments = {found["name"]: found for found in applications[name].get("deployments") or []}
    for deployment in DEPLOYMENTS:
        own = deployments.setdefault(deployment, {"name": deployment})
        own["user_config"] = user_config if user_config is not None else own.get("user_config") or {}
    applications[name]["deployments"] = list(deployments.values())
    client.deploy_apps(ServeDeploySchema.model_validate({"applications": list(applications.values())}), _blocking=False)


def replica_states(
    application: str, deployments: Sequence[str] = DEPLOYMENTS, *, within_s: float = _HEARD_WITHIN_S
) -> list[dict[str, Any]]:
    """`state` of every running replica: version, checkpoint, refused, pid.

    A handle hears of its replicas a moment after it is made, and one that dies or is busy loading is asked again;
    RunError when a deployment is not heard of for `within_s`.
    """
    end = time.monotonic() + within_s
    return [state for deployment in deployments for state in _of_deployment(application, deployment, end)]


def _of_deployment(application: str, deployment: str, end: float) -> list[dict[str, Any]]:
    handle = serve.get_deployment_handle(deployment, application)
    while True:
        left_s = max(0.1, min(_HEARD_WITHIN_S, end - time.monotonic()))
        try:
            states: list[dict[str, Any]] = handle.broadcast("state").results(timeout_s=left_s)
            return states
        except (DeploymentUnavailableError, RayError, TimeoutError) as error:
            if time.monotonic() > end:
                found = f"{type(error).__name__}: {str(error)[:200]}"
                raise RunError(f"no replica of {deployment} answers", found=found) from error
            time.sleep(0.2)


def _wait(application: str, version: str, checkpoint: str, timeout_s: float) -> list[dict[str, Any]]:
    end = time.monotonic() + timeout_s
    states: list[dict[str, Any]] = []
    while (left_s := end - time.monotonic()) > 0.0:
        states = replica_states(application, within_s=left_s)
        for state in states:
            refused = state["refused"]
            if refused is not None and refused["checkpoint"] == checkpoint:
                raise CheckpointError("a replica refused the checkpoint, the old one goes on", found=refused["reason"])
        if states and all(state["version"] == version for state in states):
            return states
        time.sleep(0.25)
    raise RunError(
        "not every replica answers with the new checkpoint in time, the old one is set again", found=f"{states}"
    )
