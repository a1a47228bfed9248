"""What a launcher file says about our own node provider (`provider.py`). Knows nothing about AWS."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from genre_ray.cluster.problem import Problem, spelling

MODULE = "genre_ray.cluster.provider.SpotFirst"
"""What `provider.module` names; `provider.type` is then `external`, and everything else as for `aws`."""


def cloud(provider: Mapping[str, Any]) -> Any:
    """The kind of provider that a file means: `aws` for ours, else what it says."""
    return "aws" if provider.get("module") == MODULE and provider.get("type") == "external" else provider.get("type")


def check(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems of `module` and `on_demand`."""
    provider = document["provider"]
    module = provider.get("module")
    if provider["type"] == "external" and module and not isinstance(module, str):
        yield Problem(field="provider.module", what="is not text", value=module, remedy=f"write {MODULE} for AWS")
    elif provider["type"] == "external" and module != MODULE and get_close_matches(str(module), [MODULE], cutoff=0.7):
        yield Problem(field="provider.module", what="no node provider", value=module, remedy=f"write {MODULE}")
    if provider["type"] != "external":
        for key in ("module", "on_demand"):
            if key in provider:
                yield Problem(
                    field=f"provider.{key}",
                    what=f"is not read by {provider['type']}",
                    value=provider[key],
                    remedy="leave it out, or write type: external and module: " + MODULE,
                )
    elif module == MODULE:
        yield from _check_limits(provider.get("on_demand"), document.get("available_node_types"))


def _check_limits(limits: object, kinds: object) -> Iterator[Problem]:
    place = "provider.on_demand"
    if not isinstance(limits, Mapping):
        yield Problem(
            field=place, what="is no mapping", value=limits, remedy="say how many, as in {gpu_spot: 2}, or {} for none"
        )
        return
    named = kinds if isinstance(kinds, Mapping) else {}
    spot = {name for name, node in named.items() if _is_spot(node)}
    for name, most in limits.items():
        if name not in spot:
            yield Problem(field=f"{place}.{name}", what="no node type on spot", value=most, remedy=spelling(name, spot))
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            yield Problem(field=f"{place}.{name}", what="is no number of machines", value=most, remedy="give 0 or more")


def _is_spot(node: object) -> bool:
    config = node.get("node_config") if isinstance(node, Mapping) else None
    return isinstance(config, Mapping) and "InstanceMarketOptions" in config
