"""Results at a URI: what is uploaded, what is fetched, and which copy of a search wins."""

import io
import shutil
from pathlib import Path

import pytest

from genre_ray.errors import RunError
from genre_ray.tune.mirror import TRIALS, Mirror, PushTrials, fetched, local_cache, patiently
from genre_ray.tune.study import JOURNAL


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    monkeypatch.setenv("GENRE_RAY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bucket").mkdir()
    return Mirror.of((tmp_path / "bucket").as_uri())


def search_in(mirror: Mirror, journal: str) -> Path:
    folder = mirror.root / "hybrid"
    (folder / TRIALS / "trial_00000").mkdir(parents=True, exist_ok=True)
    (folder / TRIALS / "trial_00000" / "state").write_text("big", encoding="utf-8")
    (folder / JOURNAL).write_text(journal, encoding="utf-8")
    (folder / "best").mkdir(exist_ok=True)
    (folder / "best" / "manifest.json").write_text("{}", encoding="utf-8")
    return folder


def test_a_path_is_its_own_mirror(tmp_path: Path) -> None:
    mirror = Mirror.of(tmp_path / "results")
    assert mirror.root == tmp_path / "results"
    assert mirror.storage(tmp_path / "results" / "a") == str(tmp_path / "results" / "a")


def test_a_search_is_uploaded_without_its_trials_and_comes_back_on_another_machine(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.push(search_in(mirror, "one\ntwo\n"))
    assert not (tmp_path / "bucket" / "hybrid" / TRIALS).exists()
    monkeypatch.setenv("GENRE_RAY_CACHE", str(tmp_path / "elsewhere"))
    other = Mirror.of((tmp_path / "bucket").as_uri())
    other.pull()
    assert other.root != mirror.root
    assert (other.root / "hybrid" / JOURNAL).read_text(encoding="utf-8") == "one\ntwo\n"
    assert (other.root / "hybrid" / "best" / "manifest.json").exists()


def test_the_longer_journal_wins(mirror: Mirror) -> None:
    folder = search_in(mirror, "one\n")
    mirror.push(folder)
    (folder / JOURNAL).write_text("one\ntwo\n", encoding="utf-8")
    mirror.pull()
    assert (folder / JOURNAL).read_text(encoding="utf-8") == "one\ntwo\n"
    mirror.push(folder)
    (folder / JOURNAL).write_text("one\n", encoding="utf-8")
    mirror.pull()
    assert (folder / JOURNAL).read_text(encoding="utf-8") == "one\ntwo\n"


def test_states_of_trials_are_fetched(mirror: Mirror, tmp_path: Path) -> None:
    state = tmp_path / "bucket" / "hybrid" / TRIALS / "trial_00003" / "checkpoint_000000" / "fold-0"
    state.mkdir(parents=True)
    (state / "trainer.pt").write_bytes(b"weights")
    folder = mirror.root / "hybrid"
    mirror.pull_trials(folder)
    place = Path("trial_00003", "checkpoint_000000", "fold-0", "trainer.pt")
    assert (folder / TRIALS / place).read_bytes() == b"weights"
    trial = fetched(f"{mirror.storage(folder)}/{TRIALS}/trial_00003")
    assert next(trial.glob("checkpoint_*/fold-0/trainer.pt")).read_bytes() == b"weights"
    assert list(fetched(f"{mirror.storage(folder)}/{TRIALS}/trial_00099").iterdir()) == []


def test_only_what_changed_is_uploaded_again(mirror: Mirror, tmp_path: Path) -> None:
    folder = search_in(mirror, "one\n")
    mirror.push(folder)
    sent = tmp_path / "bucket" / "hybrid" / JOURNAL
    sent.unlink()
    mirror.push(folder)
    assert not sent.exists()
    (folder / JOURNAL).write_text("one\ntwo\n", encoding="utf-8")
    mirror.push(folder)
    assert sent.read_text(encoding="utf-8") == "one\ntwo\n"


def test_a_search_goes_on_while_its_storage_is_away_and_uploads_everything_later(
    mirror: Mirror, tmp_path: Path
) -> None:
    folder, said = search_in(mirror, "one\n"), io.StringIO()
    push = PushTrials(mirror, folder, said)
    shutil.rmtree(tmp_path / "bucket")
    (tmp_path / "bucket").write_text("no folder any more", encoding="utf-8")
    for _ in range(3):
        push.on_trial_complete(0, [], None)  # type: ignore[arg-type]
    (tmp_path / "bucket").unlink()
    (tmp_path / "bucket").mkdir()
    push.on_trial_complete(0, [], None)  # type: ignore[arg-type]
    assert (tmp_path / "bucket" / "hybrid" / JOURNAL).read_text(encoding="utf-8") == "one\n"
    away, back = said.getvalue().splitlines()
    assert "cannot be reached, the search goes on and uploads later: " in away
    assert "can be reached again" in back


def test_the_number_of_a_trial_is_uploaded_before_its_first_state(mirror: Mirror, tmp_path: Path) -> None:
    folder = search_in(mirror, "one\n")
    PushTrials(mirror, folder, io.StringIO()).on_trial_start(0, [], None)  # type: ignore[arg-type]
    assert (tmp_path / "bucket" / "hybrid" / JOURNAL).read_text(encoding="utf-8") == "one\n"


@pytest.mark.parametrize("cache", ["s3://bucket/cache", ""])
def test_a_shared_cache_makes_no_folder_of_its_name_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("GENRE_RAY_CACHE", cache)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_cache() == tmp_path / ".cache" / "genre_ray"
    assert Mirror.of("s3://bucket/results").root.parent == local_cache() / "runs"


def test_a_cache_on_this_machine_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in (str(tmp_path), tmp_path.as_uri()):
        monkeypatch.setenv("GENRE_RAY_CACHE", cache)
        assert local_cache() == tmp_path


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genre_ray.tune.mirror.time.sleep", lambda seconds: None)
    tries = iter([RunError("away"), RunError("away"), None])

    def call() -> str:
        error = next(tries)
        if error is not None:
            raise error
        return "there"

    assert patiently(call) == "there"
    tries = iter([RunError("away")] * 9)
    with pytest.raises(RunError, match="away"):
        patiently(call, patience_s=0.0)
