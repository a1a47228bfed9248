"""The node provider of cluster/aws.yaml: spot first, and where EC2 refuses it, the same machine on demand.

Ray 2.60's autoscaler (v2) gives a refused request up and asks for the same node type again, whatever other types would
do: it keeps away from a type only after machines that came and never ran Ray (`CloudResourceMonitor`). So the change is
made here, where the request is. Ray finds the class by the file's `provider.module`, on the machine of `ray up` and on
the head. All else is Ray's own provider for AWS.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

logger = logging.getLogger(__name__)

REFUSALS = frozenset(
    {
        "InsufficientInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",  # by the zone that was asked last; another may have been without capacity
    }
)
"""Errors of EC2's RunInstances after which asking for another market can help."""


class SpotFirst(AWSNodeProvider):
    """Ray's provider for AWS; `provider.on_demand` says how many machines of a type may stand in for spot at once."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)  # type: ignore[no-untyped-call] # Ray's class has no types
        self._limits: Mapping[str, int] = provider_config.get("on_demand") or {}
        self._turn = threading.Lock()

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """The instances made, by id; as many as asked, or the last refusal is raised.

        EC2 may make fewer than it is asked for, so spot is asked for the rest until it refuses.
        """
        made: dict[str, Any] = {}
        while len(made) < count:
            try:
                made |= super().create_node(node_config, tags, count - len(made))
            except NodeLaunchException as refusal:
                if "InstanceMarketOptions" not in node_config or refusal.category not in REFUSALS:
                    raise
                made |= self._stand_in(node_config, tags, count - len(made), refusal)
                if len(made) < count:
                    raise
        return made

    def _stand_in(
        self, node_config: Mapping[str, Any], tags: dict[str, str], missing: int, refusal: NodeLaunchException
    ) -> dict[str, Any]:
        kind = tags.get(TAG_RAY_USER_NODE_TYPE, "")
        config = {key: value for key, value in node_config.items() if key != "InstanceMarketOptions"}
        made: dict[str, Any] = {}
        with self._turn:  # Ray launches from several threads, and the limit is of all
            wanted = min(missing, self._limits.get(kind, 0) - self._standing_in(kind))
            while len(made) < wanted:
                made |= super().create_node(config, tags, wanted - len(made))
        logger.warning(
            "Spot refused for %s (%s): %d of %d machines made on demand, at most %d at once",
            kind, refusal.category, len(made), missing, self._limits.get(kind, 0),
        )  # fmt: skip
        return made

    def _standing_in(self, kind: str) -> int:
        nodes = self.non_terminated_nodes({TAG_RAY_USER_NODE_TYPE: kind})  # type: ignore[no-untyped-call] # as above
        found = (self._get_cached_node(node) for node in nodes)  # type: ignore[no-untyped-call] # as above
        return sum(node.instance_lifecycle is None for node in found)
