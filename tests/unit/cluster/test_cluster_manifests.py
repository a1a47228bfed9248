"""Words and values in the manifests that fit their type, and that Kubernetes, KubeRay or the program would not take."""

from collections.abc import Callable

import pytest

Read = Callable[[str], str]
Check = Callable[[str], list[str]]

HEAD = 'requests: {cpu: "2", memory: 8Gi}\n                limits: {cpu: "2", memory: 8Gi}'
GPU = (
    'requests: {cpu: "4", memory: 14Gi, nvidia.com/gpu: 1}\n                  '
    'limits: {cpu: "4", memory: 14Gi, nvidia.com/gpu: 1}'
)
IMAGE = "image: registry.example.org/genre-ray:0.1.0-cpu"
NUMBERS = 'rayStartParams: {num-cpus: "0"}'
MODE = "  submissionMode: K8sJobMode"
NAME = "metadata:\n  name: genre-ray-search"

JOB = [
    ("hybrid.yaml", "hybrd.yaml", "tune_configs/hybrd.yaml is not there"),
    ("genre_ray.tune", "genre_ray.tun", "spec.entrypoint: no module genre_ray.tun"),
    ("genre_ray.tune", "genreray.tune", "spec.entrypoint: no module genreray.tune"),
    ("32 --resume-or-start", "32 --resume-or-strat", "unrecognized arguments: --resume-or-strat"),
    ("--gpus 0.25", "--gpu 0.25", "unrecognized arguments: --gpu"),
    ("--gpus 0.25", "--gpus quarter", "invalid float value: 'quarter'"),
    ("--concurrency 32", "--concurrency 0", "spec.entrypoint: command line"),
    ("--address auto", "--adress auto", "unrecognized arguments: --adress"),
    ("--data s3://", "--data s3:/", "two slashes belong after s3:"),
    ("--address auto", "--address 'auto", "spec.entrypoint: no valid shell command"),
    ("backoffLimit: 2", "backoffLimit: -1", "backoffLimit: is not a whole number, 0 or more"),
    ("Seconds: 172800", "Seconds: -1", "activeDeadlineSeconds: is not a whole number above 0"),
    ("Seconds: 172800", "Seconds: 0", "activeDeadlineSeconds: is not a whole number above 0"),
    ("Finished: 600", "Finished: -600", "ttlSecondsAfterFinished: is not a whole number, 0 or more"),
    ("idleTimeoutSeconds: 300", "idleTimeoutSeconds: -300", "idleTimeoutSeconds: is not a whole number, 0 or more"),
    ("Period" "Seconds: 60", "PeriodSeconds: -60", "terminationGracePeriodSeconds: is not"),
    (HEAD, HEAD.replace('"2"', '"-2"'), "requests.cpu: is below 0"),
    (HEAD, HEAD.replace('"2"', '"0"'), "limits.cpu: is less than Ray's processes need"),
    (HEAD, HEAD.replace('"2"', "2m"), "limits.cpu: is less than Ray's processes need"),
    (HEAD, HEAD.replace("8Gi", "8Mi"), "limits.memory: is less than Ray's processes need"),
    (GPU, GPU.replace("/gpu", "/gpus"), "did you mean nvidia.com/gpu?"),
    (GPU, GPU.replace("nvidia.com/gpu", "nvidia/gpu"), "no resource of Kubernetes"),
    (GPU, GPU.replace("gpu: 1", "gpu: 0.5"), "is not a whole number"),
    (GPU, GPU.replace(", nvidia.com/gpu: 1", ""), "groupName: is gpu, and its pods ask for none"),
    ("name: ray-head", "name: Ray_Head", "containers.0.name: is no name"),
    ("containerPort: 6379", "containerPort: 63790000", "containerPort: is not a port"),
    ("containerPort: 6379", "containerPort: 0", "containerPort: is not a port"),
    ("name: metrics, container", "name: metrics-of-the-ray-cluster, container", "ports.3.name: is no name of a port"),
    ("name: metrics, container", "name: dashboard, container", "a name is given twice (value dashboard)"),
    ("containerPort: 8080", "containerPort: 8265", "a port is given twice (value 8265)"),
    ('num-cpus: "0"', 'num-cpus: "zero"', "'zero' is not a valid integer"),
    ('num-cpus: "0"', 'num-cpus: "-1"', "is below 0"),
    (NUMBERS, NUMBERS.replace("}", ', object-store-memory: 10 GB}'), "is not a valid integer"),
    (NUMBERS, NUMBERS.replace("}", ", resources: '{CPU: 1}'}"), "is no JSON object"),
    (NUMBERS, NUMBERS.replace("}", ", dashboard-host: 0.0.0.1}"), "dashboard-host is no address"),
    ("serviceAccountName: genre-ray", "serviceAccountName: genre_ray", "serviceAccountName: is no name"),
    ("minReplicas: 0", "minReplicas: -1", "minReplicas: is not a whole number, 0 or more"),
    ("key: nvidia.com/gpu,", "key: nvidia.com/gpus,", "did you mean nvidia.com/gpu?"),
    ("operator: Exists", "operator: Equal", "tolerations.0.value: is missing"),
    (IMAGE, IMAGE.replace("image: ", "image: '").replace("-ray", " ray") + "'", "image: is no image"),
    (IMAGE, IMAGE.replace("genre-ray", "Genre-Ray"), "image: is no image"),
    (IMAGE, "image: 'registry.example.org/genre-ray:'", "image: is no image"),
    ("K8sJobMode", "InteractiveMode", "spec.entrypoint: is not run in InteractiveMode"),
    (MODE, "  runtimeEnvYAML: 'working_dir: 5'\n" + MODE, "runtimeEnvYAML: Ray cannot read it"),
    (MODE, "  runtimeEnvYAML: 'env_vars: {A: 1}'\n" + MODE, "runtimeEnvYAML.env_vars.A: not text"),
    (MODE, "  runtimeEnvYAML: \"pip: [a]\\npip: [b]\"\n" + MODE, "key 'pip' is given twice"),
    (MODE, "  entrypointNumCpus: -1\n" + MODE, "entrypointNumCpus: is not a number, 0 or more"),
    (NAME, NAME + "-with-a-name-that-is-much-too-long", "metadata.name: is longer than 47"),
    (NAME, NAME + "\n  labels: {a b: c}", "metadata.labels.a b: is no label"),
    (NAME, NAME + "\n  labels: {a: x y}", "metadata.labels.a: is no value of a label"),
]  # fmt: skip

SERVICE = [
    ("DelaySeconds: 60", "DelaySeconds: -60", "rayClusterDeletionDelaySeconds: is not"),
    ("genre-ray-redis:6379", "genre-ray-redis", "redisAddress: is no host:port"),
    ("genre-ray-redis:6379", "genre-ray-redis:port", "redisAddress: is no host:port"),
    ("name: GENRE_RAY_TOKENS", "name: GENRE_RAY_TOKEN", "did you mean GENRE_RAY_TOKENS?"),
    ("name: GENRE_RAY_TOKENS", "name: GENRE-RAY TOKENS", "env.0.name: is no name of a variable"),
    ("{name: genre-ray-tokens, key: tokens}", "{key: tokens}", "secretKeyRef.name: is missing"),
    (
        "GENRE_RAY_TOKENS\n                  valueFrom:\n"
        "                    secretKeyRef: {name: genre-ray-tokens, key: tokens}",
        "GENRE_RAY_TOKENS",
        "env.0: has no value",
    ),
    ("labels: {app: genre-ray-service}", "labels: {app: genre-ray-servce}", "is nearly another in this file"),
    ("ray.io/group: serve", "ray.io/group: serv", "ray.io/group: no group of this cluster"),
    ("kubernetes.io/hostname", "kubernetes.io/hostnam", "did you mean kubernetes.io/hostname?"),
    ("maxSkew: 1", "maxSkew: 0", "maxSkew: is not a whole number above 0"),
    ("genre_ray.serve:app", "genre_ray.serve:ap", "did you mean genre_ray.serve:app?"),
    ("route_prefix: /\n", "route_prefix: genre\n", "route_prefix: no path"),
    ("checkpoint: s3://", "checkpoint: s3:/", "two slashes belong after s3:"),
    ("num_cpus: 0.75", "num_cpus: 8", "num_cpus: no pod of this cluster has so many (value 8)"),
    ("host: 0.0.0.0", "host: 127.0.0.1", "http_options.host: is reached from inside a pod only"),
    ("port: 8000\n      keep", "port: 8080\n      keep", "is not http_options.port, 8080"),
    ("{name: serve, container", "{name: sreve, container", "ports.3.name: is not serve"),
    ("- name: Recordings", "- name: Figures", "Figures is given twice"),
    ("max_ongoing_requests: 512", "max_ongoing_requests: 512\n            max_ongoing_requests: 5", "is given twice"),
]  # fmt: skip

REDIS = [
    ("serviceName: genre-ray-redis", "serviceName: genre-ray-reds", "spec.serviceName: no Service of this file"),
    ("targetPort: redis", "targetPort: rediss", "targetPort: no port of the pods that it selects"),
    ("targetPort: redis", "targetPort: 6380", "targetPort: no port of the pods that it selects"),
    ("clusterIP: None", "clusterIP: none", "spec.clusterIP: is no address"),
    ("tcpSocket: {port: redis}", "tcpSocket: {port: rdis}", "livenessProbe.tcpSocket.port: no port of this container"),
    ("$REDISCLI_AUTH", "$REDISCLI_ATUH", "no such variable as REDISCLI_ATUH"),
    ("name: REDISCLI_AUTH", "name: REDISCLI_ATUH", "no such variable as REDISCLI_AUTH"),
    ("[ReadWriteOnce]", "[ReadWriteOnse]", "accessModes.0: not one of the allowed words"),
    ("replicas: 1", "replicas: -1", "replicas: is not a whole number, 0 or more"),
    ("runAsUser: 999", "runAsUser: 0", "runAsUser: is root, which runAsNonRoot forbids"),
    ("drop: [ALL]", "drop: [AL]", "drop.0: no capability"),
    ("mountPath: /data", "mountPath: data", "mountPath: is no absolute path"),
    ("kuberay-operator", "kuberay-opertor", "did you mean kuberay-operator?"),
    ("[Ingress]", "[ingress]", "policyTypes.0: not one of the allowed words"),
    ("[Ingress]", "[Egress]", "spec.policyTypes: lacks Ingress"),
    ("protocol: TCP, port: 6379", "protocol: TCP, port: 6378", "ports.0.port: no port of the pods that it selects"),
    ("protocol: TCP, port: 6379", "protocol: TCP, port: rediss", "ports.0.port: no port of the pods that it selects"),
]

NETWORK = [
    ("port: 8000", "port: 800000", "port: is not a port"),
    ("port: 8000", 'port: "8000"', "port: is not a port"),
    ("{app: genre-ray-service}", "{app: genre-ray-servce}", "is nearly another in this file"),
    ("metadata.name: monitoring", "metadata.nam: monitoring", "did you mean kubernetes.io/metadata.name?"),
]

ACCESS = [
    ("arn:aws:iam::", "arn:aws:iam:", "is no role"),
    ("amazonaws.com/role-arn", "amazonaws.com/role_arn", "did you mean eks.amazonaws.com/role-arn?"),
    ("eks.amazonaws.com", "eks.amazonws.com", "did you mean eks.amazonaws.com/role-arn?"),
]

CASES = {"rayjob": JOB, "rayservice": SERVICE, "redis": REDIS, "network": NETWORK, "access": ACCESS}


@pytest.mark.parametrize(
    ("name", "right", "wrong", "said"), [(name, *case) for name, cases in CASES.items() for case in cases]
)
def test_a_wrong_word_or_value_is_found(
    name: str, right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled(f"kuberay/{name}.yaml")
    assert right in text
    lines = problems_of(text.replace(right, wrong, 1))
    assert any(said in line for line in lines), lines


def test_a_policy_without_a_specification_is_found(problems_of: Check) -> None:
    text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\n"
    assert any("spec: is missing" in line for line in problems_of(text))


@pytest.mark.parametrize(
    ("name", "right", "other"),
    [
        ("rayjob", "python -m genre_ray.tune", "python -u -m genre_ray.tune"),
        ("rayjob", "python -m genre_ray.tune", "python other.py && python -m genre_ray.tune"),
        ("rayjob", "K8sJobMode", "HTTPMode"),
        ("rayjob", IMAGE, "image: localhost:5000/genre-ray@sha256:" + "0" * 64),
        ("rayjob", NUMBERS, "rayStartParams: {num-cpus: '0', resources: '\"{\\\"slots\\\": 2}\"', block: 'true'}"),
        ("redis", "clusterIP: None", "clusterIP: 10.0.0.7"),
        ("redis", "targetPort: redis", "targetPort: 6379"),
        ("access", "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/genre-ray-pods",
         "iam.gke.io/gcp-service-account: genre-ray@project-of-a-test.iam.gserviceaccount.com"),
    ],
)  # fmt: skip
def test_another_right_word_is_taken(name: str, right: str, other: str, filled: Read, problems_of: Check) -> None:
    text = filled(f"kuberay/{name}.yaml")
    assert right in text
    assert problems_of(text.replace(right, other)) == []
