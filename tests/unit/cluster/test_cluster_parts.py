"""Shapes, spelling, secrets and start commands, each on its own."""

import pytest

from genre_ray.cluster.commands import check_start
from genre_ray.cluster.problem import Problem, spelling
from genre_ray.cluster.scan import scan
from genre_ray.cluster.shape import _SAID, shapes


def test_a_problem_names_file_field_value_and_remedy() -> None:
    problem = Problem(field="a.b", what="is wrong", value={"x": 1}, remedy="mend it")
    assert problem.text("f.yaml") == 'f.yaml: a.b: is wrong (value {"x": 1}); mend it'


def test_a_long_value_is_shortened() -> None:
    assert len(Problem(field="a", what="w", value="x" * 500, remedy="r").text("f")) < 120


def test_spelling_names_the_nearest_word_or_all_of_them() -> None:
    assert spelling("Instancetype", ["InstanceType", "ImageId"]) == "did you mean InstanceType?"
    assert spelling("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize("value", ["500m", "4Gi", "1.5", "2e3", 1, 0.5, "100k"])
def test_quantities_of_the_api_are_taken(value: object) -> None:
    assert shapes("kubernetes").check("ResourceRequirements", {"limits": {"cpu": value}}, "") == []


@pytest.mark.parametrize("value", ["4GB", "1,5", "", True, "half", []])
def test_other_quantities_are_not(value: object) -> None:
    found = shapes("kubernetes").check("ResourceRequirements", {"limits": {"cpu": value}}, "r")
    assert [problem.field for problem in found] == ["r.limits.cpu"]


def test_a_port_may_be_a_number_or_a_name_and_nothing_else() -> None:
    shape = shapes("kubernetes")
    assert shape.check("TCPSocketAction", {"port": 80}, "") == []
    assert shape.check("TCPSocketAction", {"port": "http"}, "") == []
    assert len(shape.check("TCPSocketAction", {"port": 1.5}, "")) == 1


def test_missing_unknown_and_misplaced_fields_are_told_apart() -> None:
    found = shapes("kubernetes").check("Container", {"nam": "x", "args": "one", "env": {}}, "c")
    assert [(problem.field, problem.what) for problem in found] == [
        ("c.name", "is missing"),
        ("c.nam", "unknown field"),
        ("c.args", "is not a list"),
        ("c.env", "is not a list"),
    ]


def test_every_type_that_a_shape_names_exists() -> None:
    words = set(_SAID)
    for names in (("kubernetes", "kuberay"), ("gcp",)):
        blocks = shapes(*names)._blocks
        for block, fields in blocks.items():
            for field, kind in fields.items():
                inner = kind[0] if isinstance(kind, list) else kind["each"] if isinstance(kind, dict) else kind
                assert (
                    inner in words
                    or inner in blocks
                    or " | " in inner
                    or inner.isupper()
                    or inner in ("ONE_TO_ONE_NAT", "Failed")
                ), (block, field, kind)


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
        "export DB_PASSWORD=hunter2hunter2",
        "https://user:hunter2hunter2@example.org/",
        "ghp_" + "a" * 36,
    ],
)
def test_a_secret_is_found_and_not_repeated(text: str) -> None:
    found = list(scan({"setup_commands": [text]}))
    assert [problem.field for problem in found] == ["setup_commands.0"]
    assert text not in found[0].text("f")


@pytest.mark.parametrize(
    "text",
    [
        "export RAY_AUTH_MODE=token",
        'redis-server --requirepass "$REDIS_PASSWORD"',
        "RAY_AUTH_TOKEN_PATH=~/.ray/auth_token ray start",
        "https://example.org/a:b@c",
    ],
)
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert list(scan([text])) == []


def test_a_place_that_an_alias_repeats_is_reported_once() -> None:
    shared = ["sg-FILL_IN"]
    assert [problem.field for problem in scan({"a": shared, "b": shared})] == ["a.0"]


def test_options_are_read_up_to_the_end_of_the_command() -> None:
    head = (
        "ulimit -n 65536; ray start --head --autoscaling-config ~/ray_bootstrap_config.yaml --port=1 && echo --nonsense"
    )
    assert list(check_start({"head_start_ray_commands": [head]})) == []


def test_a_list_without_ray_start_is_no_start() -> None:
    found = list(check_start({"worker_start_ray_commands": ["echo hello"]}))
    assert [problem.what for problem in found] == ["never says `ray start`"]
