"""What a launcher file says about machines that are there already (provider `local`). Knows nothing about commands."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.problem import Problem, spelling
from genre_ray.cluster.scan import holds_placeholder

PROVIDER_KEYS = frozenset(
    {
        "type",
        "head_ip",
        "worker_ips",
        "external_head_ip",
        "use_external_head_ip",
        "coordinator_address",
        "disable_node_updaters",
        "disable_launch_config_check",
        "foreground_node_launch",
        "worker_liveness_check",
    }
)
"""What Ray 2.60 reads from `provider` for machines at hand (ray/autoscaler/_private/local)."""

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}")


def check_provider(provider: Mapping[str, Any]) -> Iterator[Problem]:
    """Unknown keys, addresses that are none, a machine named twice."""
    for key, value in provider.items():
        if key not in PROVIDER_KEYS:
            yield Problem(field=f"provider.{key}", what="unknown key", value=value, remedy=spelling(key, PROVIDER_KEYS))
    if "coordinator_address" in provider:
        return
    yield from _check_address(provider.get("head_ip"), "provider.head_ip")
    workers = provider.get("worker_ips")
    if not isinstance(workers, list):
        yield Problem(
            field="provider.worker_ips", what="is not a list", value=workers, remedy="give a list, [] for none"
        )
        return
    head = str(provider.get("head_ip"))
    if workers and (head == "localhost" or head.startswith("127.") or head == "::1"):
        yield Problem(
            field="provider.head_ip", what="is not reached from the workers", value=head, remedy="give its address"
        )
    seen = [provider.get("head_ip")]
    for index, worker in enumerate(workers):
        place = f"provider.worker_ips.{index}"
        yield from _check_address(worker, place)
        if worker in seen and not holds_placeholder(worker):
            yield Problem(field=place, what="is named twice", value=worker, remedy="name each machine once")
        seen.append(worker)


def check_number(document: Mapping[str, Any], provider: Mapping[str, Any]) -> Iterator[Problem]:
    """More workers than there are machines."""
    workers, least = provider.get("worker_ips"), document.get("min_workers")
    if isinstance(workers, list) and isinstance(least, int) and least > len(workers):
        yield Problem(
            field="min_workers",
            what=f"exceeds the number of worker_ips, {len(workers)}",
            value=least,
            remedy="leave it out, and all of them are used",
        )


def _check_address(value: object, place: str) -> Iterator[Problem]:
    if holds_placeholder(value):
        return
    if not isinstance(value, str) or not (_is_ip(value) or (_HOST.fullmatch(value) and not _looks_like_ip(value))):
        yield Problem(field=place, what="is no address", value=value, remedy="give an IP address or a host name")


def _looks_like_ip(text: str) -> bool:
    return re.fullmatch(r"[\d.]+", text) is not None


def _is_ip(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
