"""Pods: what Kubernetes, or the programs in them, would make of fields that fit the API. Knows no kind of workload."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from genre_ray.cluster.amounts import check_node
from genre_ray.cluster.problem import Problem, inside, spelling
from genre_ray.cluster.scan import holds_placeholder
from genre_ray.cluster.shape import is_port_name
from genre_ray.cluster.shell import check_command
from genre_ray.serve.environment import variable_fault

_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|api_?key|access_?key)")
_NOT_SECRET = re.compile(r"(?i)(_FILE|_PATH|_MODE|_NAME|_URI)$")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][\w.-]*")
_IMAGE = re.compile(
    r"([\w.-]+(:\d+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
"""The grammar of distribution/reference: a registry, a path in small letters, a tag, a digest."""

_CAPABILITIES = (
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT",
    "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)  # fmt: skip
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def check_pod(spec: Mapping[str, Any], place: str, claims: set[str], *, ray: bool) -> Iterator[Problem]:
    """Problems of a pod; `claims`: names of volumes made elsewhere, `ray`: one of Ray's nodes runs in it."""
    if not spec.get("containers"):
        yield Problem(field=inside(place, "containers"), what="is empty", remedy="give one container")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield Problem(
                field=inside(place, field), what="takes the pod out of its isolation", value=True, remedy="leave it out"
            )
    yield from _check_account(spec, place)
    for index, toleration in enumerate(spec.get("tolerations") or []):
        if toleration.get("operator", "Equal") == "Equal" and toleration.get("key") and "value" not in toleration:
            yield Problem(
                field=f"{place}.tolerations.{index}.value",
                what="is missing: Equal compares with it",
                remedy="write operator: Exists, or give it",
            )
    volumes = {volume["name"] for volume in spec.get("volumes") or []} | claims
    every = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    mounted = {mount["name"] for container in every for mount in container.get("volumeMounts") or []}
    for claim in sorted(claims - mounted):
        yield Problem(
            field=inside(place, "containers"),
            what="no container mounts the claim, and what is written would be lost",
            value=claim,
            remedy="add it to volumeMounts",
        )
    for field in ("initContainers", "containers"):
        containers = spec.get(field) or []
        yield from _check_unique([container["name"] for container in containers], inside(place, field))
        for index, container in enumerate(containers):
            here = inside(inside(place, field), index)
            yield from _check_container(container, here, volumes)
            yield from _check_user(container.get("securityContext") or {}, spec.get("securityContext") or {}, here)
            if ray and field == "containers" and index == 0:
                yield from _check_resources(container.get("resources") or {}, inside(here, "resources"))
                yield from check_node(container.get("resources") or {}, inside(here, "resources"))


def _check_container(container: Mapping[str, Any], place: str, volumes: set[str]) -> Iterator[Problem]:
    image = container.get("image")
    if not image:
        yield Problem(field=inside(place, "image"), what="is missing", remedy="name an image with its tag")
    elif not holds_placeholder(image) and not _IMAGE.fullmatch(image):
        yield Problem(field=inside(place, "image"), what="is no image", value=image, remedy="write registry/name:tag")
    elif not holds_placeholder(image) and (":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")):
        yield Problem(
            field=inside(place, "image"),
            what="does not say which version",
            value=image,
            remedy="give a tag or a digest",
        )
    if not _NAME.fullmatch(container["name"]):
        yield Problem(
            field=inside(place, "name"), what="is no name", value=container["name"], remedy="use a-z, 0-9 and -"
        )
    yield from _check_ports(container, place)
    yield from _check_script(container, place)
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if not mount["mountPath"].startswith("/"):
            yield Problem(
                field=f"{place}.volumeMounts.{index}.mountPath",
                what="is no absolute path",
                value=mount["mountPath"],
                remedy="begin it with /",
            )
        if mount["name"] not in volumes:
            yield Problem(
                field=f"{place}.volumeMounts.{index}.name",
                what="no volume of this pod",
                value=mount["name"],
                remedy=spelling(mount["name"], volumes) if volumes else "add it to volumes",
            )
    yield from _check_env(container.get("env") or [], inside(place, "env"))
    security = container.get("securityContext") or {}
    if security.get("privileged"):
        yield Problem(
            field=f"{place}.securityContext.privileged",
            what="is root on the machine",
            value=True,
            remedy="leave it out",
        )


def _check_env(entries: list[Any], place: str) -> Iterator[Problem]:
    yield from _check_unique([entry["name"] for entry in entries], place)
    for index, entry in enumerate(entries):
        here, name, value = inside(place, index), entry["name"], entry.get("value")
        source = entry.get("valueFrom")
        said = variable_fault(name, value or "") if value or name.startswith("GENRE_RAY_") else None
        if not _VARIABLE.fullmatch(name):
            yield Problem(field=f"{here}.name", what="is no name of a variable", value=name, remedy="use A-Z and _")
        elif said and not (source and "not " in said):
            what, _, remedy = said.partition("; ")
            yield Problem(field=here, what=f"{name}: {what}", value=value, remedy=remedy)
        if value is None and source is None:
            yield Problem(field=here, what="has no value", value=name, remedy="give value or valueFrom")
        elif source is not None and (len(source) != 1 or value is not None):
            yield Problem(field=here, what="needs exactly one source", value=entry, remedy="leave the others out")
        if value and _SECRET_NAME.search(name) and not _NOT_SECRET.search(name):
            yield Problem(
                field=f"{here}.value",
                what=f"{name} looks like a secret",
                remedy="take it from a Secret with valueFrom.secretKeyRef",
            )


def _check_ports(container: Mapping[str, Any], place: str) -> Iterator[Problem]:
    ports = container.get("ports") or []
    names = [port["name"] for port in ports if port.get("name")]
    yield from _check_unique(names, inside(place, "ports"))
    numbers = Counter((port["containerPort"], port.get("protocol", "TCP")) for port in ports)
    for (number, _), count in numbers.items():
        if count > 1:
            yield Problem(
                field=inside(place, "ports"), what="a port is given twice", value=number, remedy="give each its own"
            )
    for index, port in enumerate(ports):
        if port.get("name") is not None and not is_port_name(port["name"]):
            yield Problem(
                field=f"{place}.ports.{index}.name",
                what="is no name of a port",
                value=port["name"],
                remedy="use a-z, 0-9 and -, at most 15",
            )
    for probe in _PROBES:
        if container.get(probe) is not None and len(set(container[probe]) & set(_HANDLERS)) != 1:
            yield Problem(
                field=inside(place, probe),
                what="does not say how, or says it twice",
                value=container[probe],
                remedy=f"give one of {', '.join(_HANDLERS)}",
            )
        for action, settings in (container.get(probe) or {}).items():
            port = settings.get("port") if isinstance(settings, Mapping) else None
            if isinstance(port, str) and port not in names:
                yield Problem(
                    field=f"{place}.{probe}.{action}.port",
                    what="no port of this container",
                    value=port,
                    remedy=spelling(port, names) if names else "name one in ports",
                )


def _check_script(container: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """A script given to `sh -c`: its grammar, and variables that are nearly one of `env`."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    if len(words) < 3 or words[0].rsplit("/", 1)[-1] not in ("sh", "bash") or words[1] not in ("-c", "-ec", "-lc"):
        return
    yield from check_command(words[2], inside(place, "command"))
    given = {entry["name"] for entry in container.get("env") or []}
    for name in sorted(set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", words[2])) - given):
        remedy = spelling(name, given)
        if remedy.startswith("did you mean") and not re.search(rf"\b{name}=", words[2]):
            yield Problem(
                field=inside(place, "command"), what=f"no such variable as {name}", value=words[2], remedy=remedy
            )


def _check_account(spec: Mapping[str, Any], place: str) -> Iterator[Problem]:
    account = spec.get("serviceAccountName")
    if account is not None and not _ACCOUNT.fullmatch(account):
        yield Problem(
            field=inside(place, "serviceAccountName"), what="is no name", value=account, remedy="use a-z, 0-9 and -"
        )


def _check_user(security: Mapping[str, Any], of_pod: Mapping[str, Any], place: str) -> Iterator[Problem]:
    both = {**of_pod, **security}
    if both.get("runAsNonRoot") and both.get("runAsUser") == 0:
        yield Problem(
            field=inside(place, "securityContext.runAsUser"),
            what="is root, which runAsNonRoot forbids",
            value=0,
            remedy="give another user",
        )
    for field, words in (security.get("capabilities") or {}).items():
        for index, word in enumerate(words or []):
            if word.removeprefix("CAP_") not in _CAPABILITIES:
                yield Problem(
                    field=f"{place}.securityContext.capabilities.{field}.{index}",
                    what="no capability",
                    value=word,
                    remedy=spelling(word, _CAPABILITIES),
                )


def _check_unique(names: list[str], place: str) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(field=place, what="a name is given twice", value=name, remedy="give each its own")


def _check_resources(resources: Mapping[str, Any], place: str) -> Iterator[Problem]:
    """Ray reads what a node has from these: without them it believes that it has the whole machine."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name in ("cpu", "memory"):
        if name not in limits and not (name == "cpu" and name in requests):
            yield Problem(
                field=f"{place}.limits.{name}",
                what="is missing, and Ray would take the whole machine's for this node's",
                remedy="give it",
            )
    if "memory" in requests and "memory" in limits and requests["memory"] != limits["memory"]:
        yield Problem(
            field=f"{place}.requests.memory",
            what=f"differs from the limit {limits['memory']}: Ray plans with the limit and is killed for it",
            value=requests["memory"],
            remedy="make them equal",
        )
    for name in set(limits) | set(requests):
        if str(name).endswith("/gpu") and requests.get(name, limits.get(name)) != limits.get(name):
            yield Problem(
                field=f"{place}.limits.{name}",
                what="differs from the request",
                value=limits.get(name),
                remedy="make them equal",
            )
