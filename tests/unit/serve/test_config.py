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
