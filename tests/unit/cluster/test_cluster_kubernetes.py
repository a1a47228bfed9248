"""The Kubernetes manifests: the shipped ones are right, and what the API lets pass is found."""

from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import yaml

from genre_ray.cluster import validate

Read = Callable[[str], str]
Check = Callable[[str], list[str]]

MANIFESTS = ["access.yaml", "network.yaml", "redis.yaml", "rayjob.yaml", "rayservice.yaml"]

JOB = [
    ("entrypoint:", "entrypiont:", "did you mean entrypoint?"),
    ("backoffLimit: 2", "backoffLimit: '2'", "spec.backoffLimit: is not a whole number, 0 or more (value 2)"),
    ("submissionMode: K8sJobMode", "submissionMode: K8sJob", "did you mean K8sJobMode?"),
    ("shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false", "has no effect without shutdown"),
    ('rayVersion: "2.60.0"', 'rayVersion: "2.9.0"', f"is not Ray {ray.__version__}"),
    ('rayVersion: "2.60.0"', "rayVersion: 2.60", "rayVersion: is not text (value 2.6)"),
    ("mode: token", "mode: tokens", "authOptions.mode: not one of the allowed words"),
    ("version: v2", "version: v3", "autoscalerOptions.version: not one of the allowed words"),
    ("enableInTreeAutoscaling: true", "enableInTreeAutoscaling: false", "has no effect without enableInTree"),
    ('num-cpus: "0"', "num-cpus: 0", "rayStartParams.num-cpus: is not text (value 0); give text (in quotes)"),
    ('num-cpus: "0"', 'num-cpu: "0"', "did you mean num-cpus?"),
    ("groupName: gpu", "groupName: cpu", "a groupName is given twice (value cpu)"),
    ("groupName: gpu", "groupname: gpu", "workerGroupSpecs.1.groupName: is missing"),
    ("minReplicas: 0\n        maxReplicas: 16", "minReplicas: 17\n        maxReplicas: 16", "not in 0..16 (value 17)"),
    ("image: registry.example.org/genre-ray:0.1.0-cpu", "image: genre-ray", "does not say which version"),
    ("image: registry.example.org/genre-ray:0.1.0-cpu", "image: genre-ray:latest", "does not say which version"),
    ("containerPort: 6379", "containerport: 6379", "did you mean containerPort?"),
    ("containerPort: 6379", "containerPort: '6379'", "is not a port from 1 to 65535"),
    ("serviceAccountName", "serviceAcountName", "did you mean serviceAccountName?"),
    ("memory: 8Gi}", "memory: 8GB}", "is not a quantity such as 500m or 4Gi (value 8GB)"),
    ('limits: {cpu: "2", memory: 8Gi}', 'limits: {cpu: "2", memory: 9Gi}', "differs from the limit 9Gi"),
    ('limits: {cpu: "2", memory: 8Gi}', 'limits: {cpu: "2"}', "limits.memory: is missing, and Ray would take"),
    (
        "14Gi, nvidia.com/gpu: 1}\n                  limits",
        "14Gi, nvidia.com/gpu: 2}\n                  limits",
        "differs from the request",
    ),
    ("operator: Exists", "operator: Exist", "did you mean Exists?"),
    ("apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1", "not that of RayJob (value ray.io/v1alpha1)"),
    ("kind: RayJob", "kind: RayJobb", "did you mean RayJob?"),
    ("name: genre-ray-search", "name: Genre_Ray", "metadata.name: is no name"),
    ("  submissionMode", "  runtimeEnvYAML: 'pips: [a]'\n  submissionMode", "did you mean pip?"),
    ("  submissionMode", "  entrypointResources: 'GPU'\n  submissionMode", "is no JSON object (value GPU)"),
]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_shipped_manifest_lacks_only_what_its_user_must_fill_in(name: str, shipped: Path) -> None:
    lines = validate(shipped / "kuberay" / name)
    assert all("still to be filled in" in line for line in lines), lines


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_shipped_manifest_filled_in_has_no_problem(name: str, filled: Read, problems_of: Check) -> None:
    assert problems_of(filled(f"kuberay/{name}")) == []


@pytest.mark.parametrize(("right", "wrong", "said"), JOB)
def test_typos_in_the_job_are_found(right: str, wrong: str, said: str, filled: Read, problems_of: Check) -> None:
    text = filled("kuberay/rayjob.yaml")
    assert right in text
    lines = problems_of(text.replace(right, wrong))
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("type: NewCluster}", "type: Rolling}", "spec.upgradeStrategy.type: not one of the allowed words"),
        ("type: NewCluster}", "type: NewClusterWithIncrementalUpgrade}", "clusterUpgradeOptions: is missing"),
        ("redisAddress: genre-ray-redis:6379", "externalStorageNamespace: a", "redisAddress: is missing"),
        ("serveConfigV2: |", "serveConfigV2: {}\n  other: |", "serveConfigV2: is not text"),
        ("route_prefix:", "route_prefx:", "applications.0.route_prefx: there is no such key"),
        ("max_replicas:", "max_replica:", "autoscaling_config.max_replica: there is no such key"),
        ("name: Figures", "name: Figure", "'Figure' is no deployment of genre_ray.serve:app"),
        ("unsure_below: null", "unsure_below: 4", "unsure_below"),
        ("      port: 8000", "      prot: 8000", "http_options.prot: there is no such key"),
        (
            "name: GENRE_RAY_TOKENS\n",
            "name: GENRE_RAY_TOKENS\n                  value: not-a-secret-place\n",
            "looks like a secret",
        ),
        ("key: password}", "kee: password}", "did you mean key?"),
        ("                whenUnsatisfiable: ScheduleAnyway\n", "", "whenUnsatisfiable: is missing"),
    ],
)
def test_typos_in_the_service_are_found(right: str, wrong: str, said: str, filled: Read, problems_of: Check) -> None:
    text = filled("kuberay/rayservice.yaml")
    assert right in text
    lines = problems_of(text.replace(right, wrong))
    assert any(said in line for line in lines), lines


def test_a_mount_of_a_volume_that_is_not_there_is_found(filled: Read, problems_of: Check) -> None:
    lines = problems_of(filled("kuberay/redis.yaml").replace("{name: data, mountPath", "{name: dat, mountPath"))
    assert any(
        "(document 2)" in line and "no volume of this pod (value dat); did you mean data?" in line for line in lines
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork: takes the pod out of its isolation"),
        ({"containers": []}, "containers: is empty"),
    ],
)
def test_a_pod_that_leaves_its_isolation_is_found(
    change: dict[str, object], said: str, filled: Read, problems_of: Check
) -> None:
    document = yaml.safe_load(filled("kuberay/rayjob.yaml"))
    document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"] |= change
    assert any(said in line for line in problems_of(yaml.safe_dump(document)))


def test_a_head_open_to_the_outside_is_found(filled: Read, problems_of: Check) -> None:
    document = yaml.safe_load(filled("kuberay/rayservice.yaml"))
    document["spec"]["rayClusterConfig"]["headGroupSpec"]["serviceType"] = "LoadBalancer"
    lines = problems_of(yaml.safe_dump(document))
    assert len(lines) == 1
    assert "opens the dashboard, which runs any code, beyond the cluster (value LoadBalancer)" in lines[0]


def test_a_secret_in_a_manifest_is_refused_without_repeating_it(problems_of: Check) -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2hunter2}\n"
    lines = problems_of(text)
    assert any("stringData: a secret in a file" in line for line in lines)
    assert not any("hunter2" in line for line in lines)


def test_a_job_needs_a_cluster_or_a_selector_and_not_both(filled: Read, problems_of: Check) -> None:
    document = yaml.safe_load(filled("kuberay/rayjob.yaml"))
    document["spec"]["clusterSelector"] = {"ray.io/cluster": "other"}
    assert any("one of the two" in line for line in problems_of(yaml.safe_dump(document)))


def test_the_service_is_that_of_the_serve_configuration_but_for_checkpoint_and_host(shipped: Path) -> None:
    manifest = yaml.safe_load((shipped / "kuberay" / "rayservice.yaml").read_text(encoding="utf-8"))
    there = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    here = yaml.safe_load((shipped.parent / "serve_configs" / "hybrid.yaml").read_text(encoding="utf-8"))
    assert there["http_options"].pop("host") == "0.0.0.0"
    assert here["http_options"].pop("host") == "127.0.0.1"
    assert there["applications"][0]["args"].pop("checkpoint").startswith("s3://")
    here["applications"][0]["args"].pop("checkpoint")
    set_in_the_image = here.pop("controller_options")["runtime_env"]["env_vars"]
    assert there == here
    image = (shipped / "Dockerfile").read_text(encoding="utf-8")
    for name in (
        "RAY_SERVE_ENABLE_HA_PROXY",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
    ):
        assert f"{name}={set_in_the_image[name]}" in image
