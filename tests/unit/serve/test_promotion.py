"""What a promotion does when replicas die, refuse or are slow; Serve is played by lists of what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError, RayActorError

from genre_ray.cli.command import main
from genre_ray.errors import CheckpointError, CheckpointNotFoundError, RunError
from genre_ray.serve import promotion
from genre_ray.serve.config import DEPLOYMENTS

OLD = [{"version": "old", "refused": None}]
NEW = [{"version": "new", "refused": None}]


class Played:
    """Serve as promotion sees it: each asking of the replicas takes the next of `told`, the last one for ever."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.deployed: list[dict[str, Any] | None] = []
        self.waits_s: list[float] = []

    def get_deployment_handle(self, deployment: str, application: str) -> "Played":
        return self

    def broadcast(self, method: str) -> "Played":
        assert method == "state"
        return self

    def results(self, *, timeout_s: float) -> Any:
        self.waits_s.append(timeout_s)
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(told, BaseException):
            raise told
        return told

    def keep(self, client: object, applications: object, name: str, user_config: dict[str, Any] | None) -> None:
        self.deployed.append(user_config)


Play = Callable[..., Played]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """What the replicas say before the promotion is once `OLD` for each deployment."""
    played = Played()
    monkeypatch.setattr(promotion, "serve", played)
    monkeypatch.setattr(promotion.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(promotion, "_get_global_client", lambda **_: object())
    monkeypatch.setattr(promotion, "_deployed", lambda *_: {"genre": {}})
    monkeypatch.setattr(promotion, "_deploy", played.keep)
    monkeypatch.setattr(promotion, "version_of", lambda _: "new")
    monkeypatch.setattr(promotion.Predictor, "open", lambda *_, **__: type("P", (), {"warm_up": lambda _: None})())
    monkeypatch.setattr(promotion.time, "sleep", lambda _: None)

    def told(*states: Any) -> Played:
        played.told = [*[OLD] * len(DEPLOYMENTS), *states]
        return played

    return told


@pytest.mark.parametrize("trouble", [RayActorError(), TimeoutError("state"), GetTimeoutError("state")])
def test_a_replica_that_dies_or_is_slow_while_loading_is_waited_for(play: Play, trouble: Exception) -> None:
    played = play(trouble, OLD, NEW, trouble, NEW)
    assert promotion.promote("s3://bucket/best").after == "new"
    assert played.deployed == [{"checkpoint": "s3://bucket/best", "allow_new_labels": False}]


@pytest.mark.parametrize("trouble", [RayActorError(), TimeoutError("state")])
def test_what_never_loads_is_rolled_back_in_time(play: Play, trouble: Exception) -> None:
    played = play(trouble)
    with pytest.raises(RunError):
        promotion.promote("s3://bucket/best", timeout_s=0.3)
    assert played.deployed[1:] == [None]
    assert max(played.waits_s[len(DEPLOYMENTS) :]) <= 0.3


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), ZeroDivisionError()])
def test_whatever_ends_a_promotion_the_old_one_is_set_again(play: Play, trouble: BaseException) -> None:
    played = play(trouble)
    with pytest.raises(type(trouble)):
        promotion.promote("s3://bucket/best")
    assert played.deployed[1:] == [None]


def test_a_refusal_is_told_and_rolled_back(play: Play) -> None:
    played = play([{"version": "old", "refused": {"checkpoint": "s3://bucket/best", "reason": "too new"}}])
    with pytest.raises(CheckpointError, match="too new"):
        promotion.promote("s3://bucket/best")
    assert played.deployed[1:] == [None]


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_no_time_at_all_changes_nothing(play: Play, timeout_s: float) -> None:
    played = play(NEW)
    with pytest.raises(RunError, match="time"):
        promotion.promote("s3://bucket/best", timeout_s=timeout_s)
    assert played.deployed == []


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "soon"])
def test_the_command_refuses_no_time_at_all(timeout: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["promote", "best", "--timeout", timeout])
    assert stopped.value.code == 2
    assert "seconds above 0" in capsys.readouterr().err


def test_replicas_are_handed_a_path_that_they_find_from_anywhere(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "single").mkdir()
    monkeypatch.chdir(tmp_path)
    handed = {}
    for given in ("best", "single", "default", "s3://bucket/best", str(tmp_path / "best")):
        played = play(NEW)
        promotion.promote(given)
        handed[given] = (played.deployed[-1] or {})["checkpoint"]
    assert handed == {
        "best": str(tmp_path / "best"),
        "single": str(tmp_path / "single"),
        "default": "default",
        "s3://bucket/best": "s3://bucket/best",
        str(tmp_path / "best"): str(tmp_path / "best"),
    }


def test_a_path_that_is_none_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        promotion.promote("nowhere/best")
