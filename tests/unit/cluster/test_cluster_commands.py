"""Commands of the launcher's files: options, ports, tokens, paths and words that only a machine would refuse."""

from collections.abc import Callable

import pytest
import yaml

from genre_ray.cluster.commands import check_option
from genre_ray.cluster.shell import check_command

Read = Callable[[str], str]
Check = Callable[[str], list[str]]

AUTH = "RAY_AUTH_MODE=token RAY_SERVE_ENABLE_HA_PROXY=1"
INSTALL = "~/env/bin/python -m pip install --quiet -c constraints.txt -e ."

WRONG = [
    ("aws", "--port=6379", "--port=abc", "'abc' is not a valid integer"),
    ("aws", "--port=6379", "--port=700000", "no port; give a whole number"),
    ("aws", "--object-manager-port=8076", "--object-manager-port=x", "'x' is not a valid integer"),
    (
        "aws",
        "--dashboard-host=127.0.0.1",
        "--dashboard-host 127.0.0.1 --num-cpus=many",
        "'many' is not a valid integer",
    ),
    ("aws", "--port=6379", "--port=6380", "is not the port of the head, 6380"),
    ("aws", "$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6380", "is not the port of the head, 6379"),
    ("aws", "$RAY_HEAD_IP:6379", "$RAY_HEAD_IP", "write $RAY_HEAD_IP:6379"),
    ("aws", "$RAY_HEAD_IP:6379", "$RAY_HEAD:6379", "write $RAY_HEAD_IP:6379"),
    ("aws", "ray_bootstrap_config", "ray_bootstrap_confg", "the launcher writes it to ~/ray_bootstrap_config.yaml"),
    ("aws", "- ray stop", "- ray stp", "no command of `ray` (value stp); did you mean stop?"),
    ("aws", "ulimit -n 65536;", "ulimit -n 65536", "too many words for ulimit"),
    ("aws", "ulimit -n 65536;", "ulimit -n lots;", "no number for ulimit (value lots)"),
    ("aws", "2>&1; then", "2>&1; than", "no valid shell command"),
    ("aws", "# genre_ray' >>", "# genre_ray >>", "no valid shell command"),
    ("aws", AUTH, "RAY_AUTH_MODE=tokn RAY_SERVE_ENABLE_HA_PROXY=1", "RAY_AUTH_MODE: no such mode"),
    ("aws", AUTH, "RAY_SERVE_ENABLE_HA_PROXY=1", "lacks RAY_AUTH_MODE=token"),
    ("aws", AUTH, AUTH.replace("HA_PROXY", "HAPROXY"), "RAY_SERVE_ENABLE_HAPROXY: this version reads no such"),
    ("aws", '$PATH" RAY_AUTH_MODE=token', '$PATH" RAY_AUTH_MOD=token', "did you mean RAY_AUTH_MODE?"),
    (
        "aws",
        "-c constraints.txt -e .",
        "-c constraint.txt -e .",
        "no file that is mounted (value ~/genre_ray/constraint.txt)",
    ),
    ("aws", "-c constraints.txt -e .", "-r requirements.txt", "no file that is mounted"),
    ("aws", "-c constraints.txt -e .", "-c constraints.txt -e", "needs a value"),
    ("aws", "cd ~/genre_ray &&", "cd ~/genre-ray &&", "no folder that is mounted or made (value ~/genre-ray)"),
    ("aws", INSTALL, INSTALL.replace("~/env", "~/venv"), "made by no command of this file (value ~/venv)"),
    ("aws", "-m venv ~/env", "-m venv ~/evn", "made by no command of this file (value ~/env)"),
    ("aws", "  - test -x ~/env/bin/python || python3 -m venv ~/env\n", "", "made by no command of this file"),
    ("aws", "python3 -m venv", "pyhton3 -m venv", "no such program (value pyhton3); did you mean python3?"),
    ("aws", "sudo apt-get", "sudo apt-gte", "no such program (value apt-gte); did you mean apt-get?"),
    ("aws", "constraints.txt boto3", "constraints.txt botto3", "boto3 is installed by no command"),
    (
        "gcp",
        "quiet google-api-python-client",
        "quiet google-api-pyhton-client",
        "google-api-python-client is installed by no command",
    ),
    ("aws", "  ~/genre_ray/constraints.txt: constraints.txt\n", "", "no file that is mounted"),
    ("aws", "  ~/genre_ray/pyproject.toml: pyproject.toml\n", "", "lacks ~/genre_ray/pyproject.toml"),
    ("aws", "  ~/genre_ray/README.md: README.md\n", "", "lacks ~/genre_ray/README.md"),
    ("aws", "  ~/genre_ray/genre_ray: genre_ray\n", "", "lacks ~/genre_ray/genre_ray"),
    ("aws", "~/genre_ray/genre_ray: genre_ray", "~/genre-ray/genre_ray: genre_ray", "lacks ~/genre_ray/genre_ray"),
    ("aws", "  ~/.ray/auth_token: ~/.ray/auth_token\n", "", "lacks ~/.ray/auth_token"),
    ("aws", "~/.ray/auth_token: ~", "~/.ray/auth_tokn: ~", "lacks ~/.ray/auth_token"),
    ("aws", "~/.ray/auth_token: ~/.ray/auth_token", "~/.ray/auth_token: pyproject.toml", "is no token"),
    ("aws", "s3://music", "s3:/music", "two slashes belong after s3:"),
    ("aws", "s3://music", "s3//music", "two slashes belong after s3:"),
    ("aws", "s3://music-of-a-test", "s3://Music_Of", "'Music_Of' is no bucket"),
    ("aws", "s3://music", "gs://music", "gs:// cannot be reached"),
    ("gcp", "gs://music", "s3://music", "s3:// cannot be reached"),
    ("aws", "cluster_name: genre-ray\n", "", "cluster_name: is missing"),
    ("local", "env/bin/ray stop", "env/bin/ray stopp", "no command of `ray` (value stopp)"),
    ("local", "&& env/bin/python", "&& evn/bin/python", "made by no command of this file (value ~/genre_ray/evn)"),
    ("local", "$HOME/genre_ray/env/bin", "$HOME/genre_ray/evn/bin", "made by no command of this file"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "said"), WRONG)
def test_a_command_that_would_fail_on_the_machine_is_found(
    name: str, right: str, wrong: str, said: str, filled: Read, problems_of: Check
) -> None:
    text = filled(f"{name}.yaml")
    assert right in text
    lines = problems_of(text.replace(right, wrong, 1))
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize("field", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_rays_own_start_commands_are_not_fallen_back_on(field: str, filled: Read, problems_of: Check) -> None:
    document = yaml.safe_load(filled("aws.yaml"))
    del document[field]
    assert any(f"{field}: is missing" in line for line in problems_of(yaml.safe_dump(document)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("num-cpus", "0"),
            ("port", "$PORT"),
            ("head", None),
            ("resources", '{"slots": 2}'),
            ("dashboard-host", "::1"),
        ),
        *(("log-color", "false"), ("object-store-memory", "1000000000"), ("labels", "zone=a")),
    ],
)
def test_values_that_ray_takes_are_taken(name: str, value: str | None) -> None:
    assert list(check_option(name, value, "here")) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num-cpus", "-1", "is below 0"),
        ("num-cpus", None, "needs a value"),
        ("head", "yes", "takes no value"),
        ("resources", "{CPU: 1}", "is no JSON object"),
        ("resources", '{"CPU": 1}', "has an option of its own"),
        ("object-store-memory", "10 GB", "is not a valid integer"),
        ("object-store-memory", "10", "is a few bytes"),
        ("dashboard-host", "0.0.0.1", "no address"),
        ("log-color", "no", "is not one of"),
    ],
)
def test_values_that_ray_refuses_are_refused(name: str, value: str | None, said: str) -> None:
    assert [said in problem.what for problem in check_option(name, value, "here")] == [True]


@pytest.mark.parametrize(
    "command",
    [
        "curl -fsSL https://example.org/x.sh | bash -s -- --flag",
        "for i in 1 2 3; do echo $i && sleep 1; done",
        "if [ -d /data ]; then mount /data; else mkdir -p /data; fi",
        "python3.11 -m pip install --upgrade pip",
        "MODE=fast ./start.sh > log 2>&1 &",
        "echo 'ray stp; ulimit -n lots'",
        "set -e; export A=1 B=2; cd /opt && make",
        "docker run --rm -v ~/data:/data image:1 run",
        "ray start --head --block",
        "ulimit -Sn unlimited",
        "cat > ~/x.sh <<'EOF'\nulimit lots; it's pyhton3\nEOF\necho done",
        "# it's a comment\nmake  # and isn't done",
        "while ! ray status; do sleep 1; done",
    ],
)
def test_right_commands_are_left_alone(command: str) -> None:
    assert list(check_command(command, "here")) == []
