"""Evaluation through Ray: every split under every seed, resumable; and checkpoints scored as they are."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genre_ray import checkpoint
from genre_ray.config import FeatureConfig, InputConfig, MlpConfig, RunConfig, TrainingConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.errors import ConfigError, RunError
from genre_ray.evaluate import Evaluation, evaluate, open_prepared
from genre_ray.rescore import choose, score_checkpoint
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.training import fit

pytestmark = pytest.mark.ray

GENRES = ("ambient", "dub", "samba")
CONFIG = RunConfig(
    inputs=InputConfig(spectrogram=None, features=FeatureConfig()),
    model=MlpConfig(width=16, layers=2, dropout=0.1),
    training=TrainingConfig(epochs=15, batch_size=16, learning_rate=0.01),
)
PROTOCOL = ProtocolConfig(name="random-cv", folds=3)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with connect(num_cpus=2):
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 tracks that have a feature row and nothing else; three columns tell the genre."""
    root = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    with (root / "features_30_sec.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["filename", "length", *FEATURE_COLUMNS, "label"])
        for i, genre in enumerate(GENRES):
            for n in range(20):
                row = generator.normal(size=57)
                row[i] += 4.0
                writer.writerow([f"{genre}.{n:05d}.wav", 661794, *row, genre])
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def run(
    corpus: Path, cache: str, output: Path, config: RunConfig = CONFIG, **options: object
) -> tuple[Evaluation, str]:
    stream = io.StringIO()
    settings: dict[str, object] = {"seeds": (1, 2), "fitted_on": "train", "output": output, "cache": cache}
    found = evaluate(corpus, config, PROTOCOL, stream=stream, **(settings | options))  # type: ignore[arg-type]
    return found, stream.getvalue()


@pytest.fixture(scope="module")
def finished(corpus: Path, cache: str, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return run(corpus, cache, tmp_path_factory.mktemp("evaluation"))[0]


def written(folder: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}


def test_every_split_is_scored_under_every_seed_in_order(finished: Evaluation) -> None:
    expected = [f"random-cv[{fold}/3] seed {seed}" for fold in (1, 2, 3) for seed in (1, 2)]
    assert [result.name for result in finished.runs] == expected
    assert len(written(finished.folder)) == 6


def test_the_folds_test_every_track_once_a_seed(finished: Evaluation) -> None:
    for seed in (1, 2):
        tracks = [track for result in finished.runs if result.seed == seed for track in result.tracks]
        assert len(tracks) == len(set(tracks)) == 60


def test_what_the_columns_tell_is_learnt(finished: Evaluation) -> None:
    assert finished.summary["accuracy"].mean > 0.7
    assert finished.summary["accuracy"].n == 3


def test_table_and_report_state_interval_leaks_and_fitted_part(finished: Evaluation) -> None:
    text = finished.text()
    assert "t over 3 splits, corrected for shared training tracks" in text
    assert "fitted on train" in text
    assert text.count("duplicate pairs cross") == 6
    facts = json.loads(finished.report.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["summary"]["accuracy"]["mean"] == pytest.approx(finished.summary["accuracy"].mean)
    assert facts["data"]["tracks"] == 60


def test_the_same_call_again_runs_nothing(finished: Evaluation, corpus: Path, cache: str) -> None:
    before = written(finished.folder)
    again, told = run(corpus, cache, finished.folder)
    assert "6 of 6 runs are there already" in told
    assert written(finished.folder) == before
    assert again.runs == finished.runs


def test_a_lost_or_damaged_run_alone_is_run_again_with_the_same_result(
    finished: Evaluation, corpus: Path, cache: str
) -> None:
    before = written(finished.folder)
    names = sorted(before)
    (finished.folder / "runs" / names[0]).unlink()
    (finished.folder / "runs" / names[1]).write_text('{"name": "cut sho', encoding="utf-8")
    again, told = run(corpus, cache, finished.folder)
    assert "4 of 6 runs are there already" in told
    after = written(finished.folder)
    assert [name for name in names if after[name] != before[name]] == names[:2]
    assert [result.scores for result in again.runs] == [result.scores for result in finished.runs]


def test_another_configuration_shares_no_result(finished: Evaluation, corpus: Path, cache: str) -> None:
    wider = CONFIG.model_copy(update={"model": MlpConfig(width=32, layers=2)})
    _, told = run(corpus, cache, finished.folder, wider, seeds=(1,))
    assert "there already" not in told
    assert len(written(finished.folder)) == 9


def test_every_run_that_fails_is_named_with_its_remedy_and_stops_none_of_the_others(
    corpus: Path, cache: str, tmp_path: Path
) -> None:
    root = tmp_path / "huge"
    root.mkdir()
    lines = (corpus / "features_30_sec.csv").read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    # Infinite as float32: a fit with it in its training or validation part diverges, one with it in the test part
    # cannot be scored. All three runs go to their end, and each says what befell it.
    lines[1] = ",".join([*cells[:2], "1e300", *cells[3:]])
    (root / "features_30_sec.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    raw = CONFIG.model_copy(update={"inputs": InputConfig(spectrogram=None, features=FeatureConfig(scaling="none"))})
    with pytest.raises(RunError, match="3 of 3 runs failed") as caught:
        run(root, cache, tmp_path / "out", raw, seeds=(1,), calibration="none")
    assert "lower training.learning_rate" in str(caught.value.found)
    assert "1 of 20 test tracks are not finite; found: ambient.00000" in str(caught.value.found)
    assert "the validation loss is nan" in str(caught.value.found)
    assert "the training loss is nan" in str(caught.value.found)
    assert "finished runs are kept" in str(caught.value.remedy)
    assert len(written(tmp_path / "out")) == 0


@pytest.fixture(scope="module")
def trained(corpus: Path, cache: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Catalog]:
    """A checkpoint fitted on the first 40 tracks of the corpus."""
    catalog, table = open_prepared(corpus, CONFIG.inputs, cache=cache, stream=io.StringIO())
    seen = [track.id for track in catalog.tracks if int(track.id[-2:]) < 14]
    fitted = fit(CONFIG, table.part(seen), labels=catalog.labels, threads=1, device="cpu")
    record = {"root": corpus.name, "kind": catalog.kind, "fingerprint": catalog.fingerprint(), "tracks": seen}
    place = tmp_path_factory.mktemp("trained") / "checkpoint"
    checkpoint.save(place, [fitted], metrics={}, data=record, notes={"fitted_on": "train"})
    return place, catalog


def rescore(
    trained: tuple[Path, Catalog], corpus: Path, cache: str, output: Path, **options: object
) -> tuple[Evaluation, str]:
    stream = io.StringIO()
    found = score_checkpoint(trained[0], corpus, "all", output=output, cache=cache, stream=stream, **options)  # type: ignore[arg-type]
    return found, stream.getvalue()


def test_tracks_that_a_checkpoint_was_fitted_on_are_refused(
    trained: tuple[Path, Catalog], corpus: Path, cache: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="42 of 60 tracks were in the training data") as caught:
        rescore(trained, corpus, cache, tmp_path)
    assert "leave-out" in str(caught.value.remedy)


def test_leaving_them_out_scores_the_others(
    trained: tuple[Path, Catalog], corpus: Path, cache: str, tmp_path: Path
) -> None:
    found, told = rescore(trained, corpus, cache, tmp_path, seen="leave-out")
    assert found.runs[0].scores.n == 18
    assert all(int(track[-2:]) >= 14 for track in found.runs[0].tracks)
    assert "WARNING: 42 of 60 tracks left out" in told
    assert found.report.exists()


def test_keeping_them_says_so_beside_the_score(
    trained: tuple[Path, Catalog], corpus: Path, cache: str, tmp_path: Path
) -> None:
    found, told = rescore(trained, corpus, cache, tmp_path, seen="keep")
    assert found.runs[0].scores.n == 60
    assert "this is no test" in found.text()
    assert "WARNING" in told


def test_equal_names_in_another_corpus_are_other_tracks(trained: tuple[Path, Catalog]) -> None:
    _, catalog = trained
    record = {"kind": "folders", "root": "elsewhere", "fingerprint": "other", "tracks": [catalog.tracks[0].id]}
    chosen = choose([catalog.tracks[0].id], catalog, record, seen="refuse")
    assert (chosen.fitted, chosen.note) == ((), "")


def test_a_checkpoint_without_a_record_is_scored_with_a_warning(trained: tuple[Path, Catalog]) -> None:
    _, catalog = trained
    assert "does not record its training tracks" in choose(["x"], catalog, {}, seen="refuse").note


def test_a_part_without_a_protocol_is_refused(
    trained: tuple[Path, Catalog], corpus: Path, cache: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--protocol"):
        score_checkpoint(trained[0], corpus, "test", output=tmp_path, cache=cache, stream=io.StringIO())
    with pytest.raises(ConfigError, match="there is no fold 4"):
        score_checkpoint(
            trained[0], corpus, output=tmp_path, cache=cache, protocol=PROTOCOL, fold=4, stream=io.StringIO()
        )


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_was(corpus: Path, cache: str, tmp_path: Path) -> None:
    config = tmp_path / "search.yaml"
    settings = {"name": "t", "protocol": {"name": "paper"}, "base": CONFIG.model_dump(mode="json")}
    settings["base"]["training"]["epochs"] = 60  # type: ignore[index]
    config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "genre_ray", "evaluate", "--data", str(corpus), "--config", str(config)]
    command += ["--protocol", "random-cv", "--folds", "3", "--seeds", "1", "2", "3", "4", "--cache", cache]
    command += ["--output", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    runs = tmp_path / "out" / "runs"
    deadline = time.monotonic() + 300
    while len(list(runs.glob("*.json"))) < 2:
        assert driver.poll() is None, "the evaluation ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = len(list(runs.glob("*.json")))
    assert left < 12
    resumed = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert f"{left} of 12 runs are there already" in resumed.stderr
    assert len(list(runs.glob("*.json"))) == 12
    assert resumed.stdout.count("random-cv[") == 12


def test_the_corpus_of_rows_is_what_these_tests_think(corpus: Path) -> None:
    catalog = open_catalog(corpus, need=["features"])
    assert (len(catalog), catalog.labels) == (60, GENRES)
