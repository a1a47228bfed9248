"""Every key and word misspelt, every value of another type, in every shipped file: none is taken in silence."""

import copy
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from genre_ray.cli.validate import check

ROOT = Path(__file__).parents[3]
FILES = [
    *(f"cluster/{name}.yaml" for name in ("aws", "aws-docker", "gcp", "local")),
    *(f"cluster/kuberay/{name}.yaml" for name in ("rayjob", "rayservice", "redis", "network", "access")),
    *(f"serve_configs/{path.name}" for path in sorted((ROOT / "serve_configs").glob("*.yaml"))),
    *(f"tune_configs/{path.name}" for path in sorted((ROOT / "tune_configs").glob("*.yaml"))),
]
SAMPLE = 60
"""Mutations of each file that `make test` tries; `make soak` tries all, some 6000."""

FREE = re.compile(
    r"key available_node_types\.\w+"  # names that the user gives
    r"|key .*\b(matchLabels|labels|annotations)\..+"  # and labels, where nothing in the file says what they select
    r"|value .*\b(ports\.\d+\.port|targetPort|tcpSocket\.port|(labels|annotations|matchLabels)\..+)"
    r"|value .*\bcheckpoint"  # a path on the machine that will serve
    r"|value .*\bresources\.(requests|limits)\.(cpu|memory|storage)"  # another amount is no mistake
    r"|value .*\.description"
    r"|word (name|metadata\.name|cluster_name|.*\.checkpoint|applications\.0\.(args\.)?name|.*serveConfigV2\..*\bname)"
    r"|word .*\b((worker_)?image|container_name|serviceAccountName|containers\.\d\.name|secretKeyRef\.\w+)"
    r"|word .*\b(redisAddress|mountPath)"
    r"|word .*\b(ports\.\d\.name|IamInstanceProfile\.Name|SecurityGroupIds\.0|accessConfigs\.0\.name|ssh_user)"
    r"|word .*\b(sourceImage|worker_ips\.\d|rsync_exclude\.0|role-arn|metadata\.name|\w*HAPROXY_BINARY_PATH)"
    r"|word ((initialization|setup|head_setup)_commands|.*\.command)\..*"  # options of other people's programs
)
"""What may be anything, as far as its file can tell."""

Place = tuple[Any, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        yield (*place, step)
        yield from places(part, (*place, step))


def at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def misspelt(document: Any, place: Place) -> Any:
    """The key at `place` without its second letter."""
    changed = copy.deepcopy(document)
    parent = at(changed, place[:-1])
    entries = [((key[:1] + key[2:] or "x") if key == place[-1] else key, value) for key, value in parent.items()]
    parent.clear()
    parent.update(entries)
    return changed


def replaced(document: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(document)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def of_another_type(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return ["perhaps", 7, [value]]
    if isinstance(value, int | float):
        return ["many", [value], -3.5, {"a": 1}]
    if isinstance(value, str):
        return [7, [value], {"a": 1}]
    return ["x", 7, {"a": 1} if isinstance(value, list) else [1]] if value is not None else ["x!", -7.5, [1]]


def with_a_wrong_word(value: Any) -> str | None:
    """The text without a letter in the middle of its longest word."""
    words = list(re.finditer(r"[A-Za-z]{4,}", value)) if isinstance(value, str) else []
    if not words:
        return None
    longest = max(words, key=lambda word: len(word[0]))
    middle = longest.start() + len(longest[0]) // 2
    return str(value[:middle] + value[middle + 1 :])


def inner(name: str, text: str) -> Iterator[tuple[str, str]]:
    """The mutations of a document that is a text in another, as serveConfigV2 is."""
    for what, changed in mutations([yaml.safe_load(text)]):
        kind, _, place = what.partition(" ")
        yield f"{kind} {name}.{place}", yaml.safe_dump(changed[0], sort_keys=False)


def mutations(documents: list[Any]) -> list[tuple[str, list[Any]]]:
    found = []
    for index, document in enumerate(documents):
        for place in places(document):
            name = ".".join(map(str, place))
            changed = [(f"value {name}", replaced(document, place, v)) for v in of_another_type(at(document, place))]
            word = with_a_wrong_word(at(document, place))
            if place[-1] == "serveConfigV2":
                changed += [(w, replaced(document, place, text)) for w, text in inner(name, at(document, place))]
            elif word is not None:
                changed.append((f"word {name}", replaced(document, place, word)))
            if isinstance(place[-1], str) and len(place[-1]) > 1:
                changed.append((f"key {name}", misspelt(document, place)))
            found += [(what, [*documents[:index], new, *documents[index + 1 :]]) for what, new in changed]
    return found


def accepted(documents: list[Any], place: Path) -> bool:
    place.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
    lines = "\n".join(check(place)).splitlines()
    assert all(line.startswith((str(place), "found:", "remedy:")) for line in lines), lines
    return not lines


def read(name: str, filled: Any) -> list[Any]:
    text = filled(name.removeprefix("cluster/")) if name.startswith("cluster") else (ROOT / name).read_text("utf-8")
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("name", FILES)
def test_a_mistake_anywhere_is_refused(name: str, filled: Any, workplace: Path) -> None:
    every = mutations(read(name, filled))
    chosen = random.Random(name).sample(every, min(SAMPLE, len(every)))
    taken = [what for what, documents in chosen if accepted(documents, workplace / "given.yaml")]
    assert [what for what in taken if not FREE.fullmatch(what)] == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_every_mistake_is_refused(name: str, filled: Any, workplace: Path) -> None:
    every = mutations(read(name, filled))
    taken = [what for what, documents in every if accepted(documents, workplace / "given.yaml")]
    assert [what for what in taken if not FREE.fullmatch(what)] == []


NEEDED = {
    "cluster/aws.yaml": r"cluster_name|max_workers|provider(\.region|\.type)?|(head|worker)_start_ray_commands(\.1)?"
    r"|file_mounts(\.~/genre_ray/(genre_ray|pyproject.toml|README.md|constraints.txt)|\.~/.ray/auth_token)?"
    r"|setup_commands(\.2)?|head_setup_commands|.*_spot\.max_workers"
    r"|.*\.(InstanceType|ImageId|IamInstanceProfile(\.Name)?|SecurityGroupIds(\.0)?|InstanceMarketOptions|DeviceName)",
    "cluster/gcp.yaml": r"cluster_name|provider\.(region|availability_zone|project_id)|.*_spot\.resources(\.[CG]PU)?"
    r"|.*\.(machineType|disks|boot|networkInterfaces|serviceAccounts|email|scopes(\.0)?|onHostMaintenance)"
    r"|.*_spot\.node_config\.scheduling\.provisioningModel|(head|worker)_start_ray_commands",
    "cluster/local.yaml": r"cluster_name|provider(\.(head_ip|worker_ips))?|file_mounts"
    r"|(head|worker)_start_ray_commands",
    "cluster/kuberay/rayjob.yaml": r"apiVersion|kind|metadata(\.name)?|spec|spec\.(entrypoint|shutdownAfterJobFinishes)"
    r"|spec\.rayClusterSpec(\.(rayVersion|headGroupSpec|authOptions(\.mode)?|enableInTreeAutoscaling))?"
    r"|.*\.(groupName|maxReplicas|containers|image|containerPort|containers\.0\.resources\.limits(\.(memory|nvidia.+))?)",
    "cluster/kuberay/rayservice.yaml": r"spec\.serveConfigV2|.*\.authOptions|.*\.(redisAddress|containers(\.0)?|image)"
    r"|.*workerGroupSpecs\.0\.template\.spec(\.containers\.0\.(env(\.0)?(\.valueFrom)?|ports(\.0)?))?",
    "cluster/kuberay/redis.yaml": r"apiVersion|kind|spec|.*\.(tcpSocket|exec|containerPort|template|volumeMounts)"
    r"|.*\.(serviceName|accessModes|volumeClaimTemplates\.0\.spec\.resources|selector\.matchLabels)",
    "cluster/kuberay/network.yaml": r"apiVersion|kind|metadata|spec",
    "cluster/kuberay/access.yaml": r"apiVersion|kind|metadata|metadata\.name",
    "serve_configs/hybrid.yaml": r"applications|applications\.0\.import_path|.*deployments\.\d\.name",
}
"""What a file cannot do without."""


def removed(document: Any, place: Place) -> Any:
    changed = copy.deepcopy(document)
    del at(changed, place[:-1])[place[-1]]
    return changed


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_file_needs_is_missed(name: str, filled: Any, workplace: Path) -> None:
    documents = read(name, filled)
    taken, tried = [], 0
    for index, document in enumerate(documents):
        for place in places(document):
            if re.fullmatch(NEEDED[name], ".".join(map(str, place))):
                tried += 1
                changed = [*documents[:index], removed(document, place), *documents[index + 1 :]]
                if accepted(changed, workplace / "given.yaml"):
                    taken.append((index, ".".join(map(str, place))))
    assert tried > 2
    assert taken == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("max_workers: 24", "\tmax_workers: 24"),
        ("max_workers: 24", "max_workers: 24\nmax_workers: 25"),
        ("SecurityGroupIds: *group", "SecurityGroupIds: *grop"),
        ("cluster_name: genre-ray", "cluster_name: 'genre-ray"),
        ("cluster_name: genre-ray", "cluster_name: genre-ray\nloop: &loop [*loop]"),
        ("cluster_name: genre-ray", "cluster_name: !!python/object/apply:os.getcwd []"),
        ("cluster_name: genre-ray", "? [a]\n: 1\ncluster_name: genre-ray"),
        ("upscaling_speed: 1.0", "upscaling_speed: 1e0"),
        ("max_workers: 24", "max_workers: 0o32x"),
        ("head_node_type: head", "head_node_type: haed"),
        ("min_workers: 0", "min_workers: -1"),
        ("max_workers: 24", "max_workers: -24"),
        ("- ray stop", "-ray stop"),
    ],
)
def test_a_mistake_of_yaml_is_refused(right: str, wrong: str, filled: Any, workplace: Path) -> None:
    text = filled("aws.yaml")
    assert right in text
    path = workplace / "given.yaml"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    lines = list(check(path))
    assert lines
    assert all(str(path) in line for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_aliases_that_grow_without_end_are_refused_at_once(workplace: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    path = workplace / "given.yaml"
    path.write_text("\n".join(["cluster_name: x", *lines]), encoding="utf-8")
    assert "too large" in next(iter(check(path)))
