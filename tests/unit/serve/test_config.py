import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from genre_ray.errors import ConfigError
from genre_ray.serve import config
from genre_ray.serve.openapi import document
from genre_ray.serve.problems import TITLES
from genre_ray.serve.settings import ServeArgs

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "serve_configs").glob("*.yaml"))


@pytest.fixture
def hybrid() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "serve_configs/hybrid.yaml").read_text())
    return loaded


def refusal(changed: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(ConfigError) as refused:
        config.validate(path)
    return str(refused.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_key_name_and_value_of_a_shipped_configuration_is_real(path: Path) -> None:
    assert config.validate(path)["applications"]


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "aplications"),
        (("http_options",), "prot"),
        (("applications", 0), "import_paths"),
        (("applications", 0, "args"), "checkpiont"),
        (("applications", 0, "deployments", 0), "max_ongoing_request"),
        (("applications", 0, "deployments", 0, "autoscaling_config"), "max_replica"),
        (("applications", 0, "deployments", 0, "ray_actor_options"), "num_cpu"),
        (("applications", 0, "deployments", 0, "backpressure_config"), "status"),
        (("applications", 0, "deployments", 0, "user_config"), "checkpoints"),
        (("controller_options", "runtime_env", "env_vars"), "RAY_SERVE_ENABLE_HAPROXY"),
        (("controller_options", "runtime_env", "env_vars"), "GENRE_RAY_MAX_INPROGRESS"),
        (("logging_config",), "log_levels"),
    ],
)
def test_a_misspelt_key_is_found_at_every_level(
    hybrid: dict[str, Any], tmp_path: Path, place: tuple[Any, ...], key: str
) -> None:
    changed = copy.deepcopy(hybrid)
    inner: Any = changed
    for step in place:
        inner = inner[step]
    inner[key] = "1"
    assert key in refusal(changed, tmp_path)


def test_a_deployment_that_the_application_has_not_is_found(hybrid: dict[str, Any], tmp_path: Path) -> None:
    hybrid["applications"][0]["deployments"][0]["name"] = "Figure"
    assert "Figures, Recordings" in refusal(hybrid, tmp_path)


def test_the_names_are_those_of_the_built_application(checkpoint: Path) -> None:
    from ray.serve._private.build_app import build_app

    from genre_ray.serve import app

    built = build_app(app(ServeArgs(checkpoint=str(checkpoint))), name="x", default_runtime_env={})
    assert {deployment.name for deployment in built.deployments} == set(config.DEPLOYMENTS)


def test_values_out_of_range_are_found_with_their_field(hybrid: dict[str, Any], tmp_path: Path) -> None:
    hybrid["applications"][0]["args"]["unsure_below"] = 7
    assert "unsure_below" in refusal(hybrid, tmp_path)


def test_a_limit_of_the_edge_is_a_number(hybrid: dict[str, Any], tmp_path: Path) -> None:
    hybrid["controller_options"]["runtime_env"]["env_vars"]["GENRE_RAY_MAX_IN_PROGRESS"] = "16 or so"
    assert "GENRE_RAY_MAX_IN_PROGRESS: not a whole number" in refusal(hybrid, tmp_path)


def test_a_time_out_below_nothing_is_found(hybrid: dict[str, Any], tmp_path: Path) -> None:
    hybrid["grpc_options"] = {"request_timeout_s": -3.5}
    assert "grpc_options.request_timeout_s: a time-out cannot be negative" in refusal(hybrid, tmp_path)


def test_every_problem_and_path_is_in_the_description() -> None:
    described = document(ServeArgs())
    kinds = described["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert {kind.partition("#")[2] for kind in kinds} == set(TITLES)
    assert {"/v1/predict", "/v1/predict/audio", "/v1/predict/batch", "/v2/health/ready"} <= set(described["paths"])


def test_importing_the_protocol_imports_no_ray_and_no_torch() -> None:
    import subprocess
    import sys

    heavy = "('ray', 'torch', 'starlette')"
    program = f"import sys, genre_ray.serve.protocol; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WRONG = [
    ("hybrid", "genre_ray.serve:app", "genre_ray.serve:ap", "did you mean genre_ray.serve:app?"),
    ("hybrid", "genre_ray.serve:app", "genre_ray.serv:app", "did you mean genre_ray.serve:app?"),
    ("hybrid", "genre_ray.serve:app", "genre_ray.serve.app", "did you mean genre_ray.serve:app?"),
    ("hybrid", "genre_ray.serve:app", "'genre_ray.serve:app '", "did you mean genre_ray.serve:app?"),
    ("hybrid", "genre_ray.serve:app", "elsewhere.service:app", "no application here is ours"),
    ("hybrid", "route_prefix: /", "route_prefix: genre", "route_prefix: no path"),
    ("hybrid", "route_prefix: /", "route_prefix: /genre/", "route_prefix: no path"),
    ("hybrid", "route_prefix: /", "route_prefix: '{x}'", "route_prefix: no path"),
    ("hybrid", "route_prefix: /", "route_prefix: null", "route_prefix: nothing would be reached"),
    ("hybrid", "name: Recordings", "name: Figures", "is given twice"),
    ("hybrid", "host: 127.0.0.1", "host: 127.0.0.l", "http_options.host: no address"),
    ("hybrid", "host: 127.0.0.1", "host: 127.0.0.1:8000", "http_options.host: no address"),
    ("hybrid", "port: 8000", "port: 80000", "http_options.port: no port"),
    ("hybrid", "port: 8000", "port: -1", "http_options.port: no port"),
    ("hybrid", "port: 8000", 'port: "8000"', "http_options.port: text where a number belongs"),
    ("hybrid", "port: 8000", "port: 8000\n  root_path: genre", "http_options.root_path: no path"),
    ("hybrid", "port: 8000", "port: 8000\n  request_timeout_s: 0", "request_timeout_s: no time at all"),
    ("hybrid", 'HA_PROXY: "1"', 'HA_PROXY: "yes"', "ENABLE_HA_PROXY: not 0 or 1"),
    ("hybrid", 'NBTHREAD: "2"', 'NBTHREAD: "two"', "NBTHREAD: not a whole number"),
    ("hybrid", 'NBTHREAD: "2"', 'NBTHREAD: "0"', "NBTHREAD: not a whole number above 0"),
    ("hybrid", 'TIMEOUT_S: "120"', 'TIMEOUT_S: "120s"', "TIMEOUT_S: not a number above 0"),
    ("hybrid", "guard.prepare_process", "guard.prepare_proces", "did you mean prepare_process?"),
    ("hybrid", "edge:prepare_controller", "edge:prepare_controler", "did you mean prepare_controller?"),
    ("hybrid", "edge:middlewares", "edge:middleware", "did you mean middlewares?"),
    ("hybrid", "edge:middlewares", "egde:middlewares", "cannot be imported"),
    ("hybrid", "genre_ray.serve.edge:middlewares", "genreray.serve.edge:middlewares", "cannot be imported"),
    ("hybrid", "${HOME}", "${HOEM}", "no such variable as HOEM"),
    ("hybrid", "access_log: false", "access_log: 'no'", "enable_access_log: text where true or false belongs"),
    ("hybrid", "max_ongoing_requests: 512", "max_ongoing_requests: true", "true or false where a number belongs"),
    ("hybrid", "checkpoint: null", "checkpoint: s3:/bucket/best", "checkpoint: two slashes belong after s3:"),
    ("hybrid", "{num_cpus: 0.75}", "{num_cpus: 0.75, memory: 10}", "memory: a few bytes"),
    ("hybrid", "{num_cpus: 0.75}", "{num_cpus: 0.75, resources: {CPU: 1}}", "Use the 'num_cpus'"),
    (
        "hybrid",
        "{num_cpus: 0.75}",
        "{num_cpus: 0.75, runtime_env: {pips: [x]}}",
        "runtime_env.pips: there is no such key",
    ),
    (
        "hybrid",
        "{num_cpus: 0.75}",
        "{runtime_env: {env_vars: {RAY_SERVE_X: '1'}}}",
        "this version reads no such variable",
    ),
    ("hybrid", "route_prefix: /", "route_prefix: /\n    runtime_env: {working_dr: .}", "did you mean working_dir?"),
    ("hybrid", "route_prefix: /", "route_prefix: /\n    runtime_env: {env_vars: {A: 1}}", "env_vars.A: not text"),
    (
        "hybrid",
        "route_prefix: /",
        "route_prefix: /\n    runtime_env: {env_vars: {GENRE_RAY_TOKEN: a}}",
        "GENRE_RAY_TOKENS",
    ),
    ("hybrid", "max_ongoing_requests: 512", "placement_group_strategy: PAKC", "did you mean PACK?"),
    ("hybrid", "http_options:", "proxy_location: Disabled\nhttp_options:", "proxy_location: nothing would listen"),
    ("gpu", 'MAX_IN_PROGRESS: "64"', 'MAX_IN_PROGRESS: "8"', "is not limits.max_in_progress"),
    ("gpu", "{max_in_progress: 64}", "{max_in_progress: 640}", "is not limits.max_in_progress"),
    ("gpu", "num_gpus: 0.25", "num_gpus: 1.5", "num_gpus: above 1 only whole GPUs"),
    ("grpc", "servicing:add_to_server", "servicing:add_to_servr", "did you mean add_to_server?"),
    ("grpc", "[genre_ray.serve.grpc_api.servicing:add_to_server]", "[]", "nothing would answer"),
    ("grpc", "port: 9000", "port: 8000", "grpc_options.port: is that of http_options"),
    ("grpc", "port: 9000", "port: 900000", "grpc_options.port: no port"),
    ("grpc", "timeout_s: 30", "timeout_s: 0", "grpc_options.request_timeout_s: no time at all"),
    ("grpc", 'SIZE: "25165824"', 'SIZE: "24 MB"', "MAX_MESSAGE_SIZE: not a whole number"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "said"), WRONG)
def test_a_wrong_word_or_value_is_found(name: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    text = (ROOT / f"serve_configs/{name}.yaml").read_text()
    assert right in text
    path = tmp_path / "service.yaml"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ConfigError) as refused:
        config.validate(path)
    assert said in str(refused.value)


def test_a_foreign_application_beside_ours_is_left_alone(hybrid: dict[str, Any], tmp_path: Path) -> None:
    hybrid["applications"].append({"name": "other", "route_prefix": "/other", "import_path": "elsewhere.service:app"})
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(hybrid))
    assert len(config.validate(path)["applications"]) == 2


def test_a_function_may_be_named_with_a_dot_or_a_colon_and_be_anothers(hybrid: dict[str, Any], tmp_path: Path) -> None:
    variables = hybrid["controller_options"]["runtime_env"]["env_vars"]
    variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] = "genre_ray.serve.edge.middlewares"
    variables["RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH"] = "elsewhere.edge:prepare"
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(hybrid))
    assert config.validate(path) == hybrid
