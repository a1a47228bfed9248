"""Batch prediction: a row a track, the same answers as the Predictor's, nothing lost or done twice."""

import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from genre_ray import checkpoint as checkpoints
from genre_ray import predict
from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.data import execution
from genre_ray.data.cache import EXTRACTION_VERSION
from genre_ray.data.catalog import open_catalog
from genre_ray.data.inbox import tracks_of
from genre_ray.errors import CheckpointNotFoundError, ConfigError
from genre_ray.inference import Predictor
from genre_ray.predict import predict_catalog
from genre_ray.preprocessing import extract
from genre_ray.training import fit

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_on_two_cores")]

SMALL = parse(
    RunConfig,
    {
        "model": {
            "kind": "hybrid",
            "cnn": {"width": 4, "stages": 4, "hidden": 8},
            "mlp": {"width": 16},
            "hidden": 16,
        },
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01},
    },
    origin="test",
)


def train(root: Path, target: Path, seed: int = 1) -> Path:
    catalog = open_catalog(root)
    table = ClipTable.from_clips(clip for track in catalog.tracks for clip in extract(track, SMALL.inputs))
    config = SMALL.model_copy(update={"training": SMALL.training.model_copy(update={"seed": seed})})
    fitted = fit(config, table, labels=catalog.labels, device="cpu", threads=1)
    checkpoints.save(target, [fitted], metrics={}, data={"name": "test"})
    return target


@pytest.fixture(scope="module")
def checkpoint(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(figures, tmp_path_factory.mktemp("model") / "best")


@pytest.fixture(scope="module")
def whole(figures: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of all 40 tracks, with embeddings, from a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "p.parquet"
    said = io.StringIO()
    predict_catalog(figures, checkpoint, out, embedding=True, stream=said)
    assert "predicting 40/40 tracks, " in said.getvalue()
    assert not out.with_name("p.parquet.parts").exists()
    return out


def test_every_track_has_a_row_with_the_answer_of_the_predictor(whole: Path, figures: Path, checkpoint: Path) -> None:
    table = pq.read_table(whole)
    predictor = Predictor.open(checkpoint, device="cpu", threads=1)
    tracks = tracks_of(figures)
    assert table["track"].to_pylist() == [track.id for track in tracks]
    assert table["path"].to_pylist() == [str(track.figure) for track in tracks]
    rows = table.to_pylist()
    for row, answer in zip(rows, predictor.predict_many(tracks), strict=True):
        given = [row[f"p_{label}"] for label in predictor.labels]
        np.testing.assert_allclose(given, answer.probabilities, atol=1e-5)
        assert (row["label"], row["clips"], row["error"]) == (answer.label, 1, None)
        assert row["score"] == max(given)
    expected = predictor.embed_clips(list(extract(tracks[0], predictor.inputs)))[0]
    np.testing.assert_allclose(rows[0]["embedding"], expected, atol=1e-5)


def test_the_file_says_which_checkpoint_answered(whole: Path, checkpoint: Path) -> None:
    metadata = pq.read_metadata(whole).metadata
    assert metadata[b"genre_ray.checkpoint"].decode() == checkpoints.version_of(checkpoint)
    assert metadata[b"genre_ray.labels"] == b"blues,metal,pop,rock"


def test_a_bad_track_has_a_row_that_says_why(figures: Path, checkpoint: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(figures, tmp_path / "corpus"))
    (root / "images_original" / "pop" / "pop00004.png").write_bytes(b"no picture")
    result = predict_catalog(root, checkpoint, tmp_path / "p.parquet", progress=False)
    table = pq.read_table(tmp_path / "p.parquet")
    assert (result.tracks, dict(result.failed), len(table)) == (40, {"undecodable": 1}, 40)
    bad = [row for row in table.to_pylist() if row["error_kind"] is not None]
    assert [(row["track"], row["error_kind"], row["label"], row["p_pop"]) for row in bad] == [
        ("pop.00004", "undecodable", None, None)
    ]
    assert "cannot be decoded" in bad[0]["error"]


def test_an_interrupted_run_goes_on_and_ends_in_the_same_table(
    whole: Path, figures: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "broken.parquet", execution.run
    worked_on: list[int] = []

    def stopped(shards: Sequence[object], *args: object, **options: object) -> Iterator[execution.Done]:
        for i, done in enumerate(run(shards, *args, **options)):
            if i == 2:
                raise KeyboardInterrupt
            yield done

    def counted(shards: Sequence[object], *args: object, **options: object) -> Iterator[execution.Done]:
        for done in run(shards, *args, **options):
            worked_on.append(len(done.entries))
            yield done

    monkeypatch.setattr(execution, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_catalog(figures, checkpoint, out, embedding=True, progress=False)
    assert not out.exists()
    monkeypatch.setattr(execution, "run", counted)
    result = predict_catalog(figures, checkpoint, out, embedding=True, progress=False)
    assert result.reused >= 16
    assert result.reused + sum(worked_on) == 40
    assert pq.read_table(out).equals(pq.read_table(whole))


def test_a_finished_table_is_left_alone_until_the_checkpoint_changes(
    whole: Path, figures: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copy(whole, tmp_path / "p.parquet"))
    written = out.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(execution, "run", lambda *_, **__: pytest.fail("there was nothing to do"))
        again = predict_catalog(figures, checkpoint, out, embedding=True, progress=False)
    assert (again.reused, out.stat().st_mtime_ns) == (40, written)
    assert "40 of them from before" in again.describe()
    other = train(figures, tmp_path / "other", seed=2)
    assert predict_catalog(figures, other, out, concurrency=1, progress=False).reused == 0
    assert pq.read_metadata(out).metadata[b"genre_ray.checkpoint"].decode() == checkpoints.version_of(other)


def test_one_more_track_is_predicted_alone_and_the_rest_is_taken_from_the_table(
    figures: Path, checkpoint: Path, tmp_path: Path
) -> None:
    root, out, anew = (
        Path(shutil.copytree(figures, tmp_path / "corpus")),
        tmp_path / "p.parquet",
        tmp_path / "n.parquet",
    )
    predict_catalog(root, checkpoint, out, embedding=True, progress=False)
    folder = root / "images_original" / "pop"
    shutil.copy(folder / "pop00004.png", folder / "pop00010.png")
    result = predict_catalog(root, checkpoint, out, embedding=True, progress=False)
    assert (result.tracks, result.reused) == (41, 40)
    predict_catalog(root, checkpoint, anew, embedding=True, progress=False)
    assert pq.read_table(out).equals(pq.read_table(anew))
    assert predict_catalog(root, checkpoint, out, embedding=True, resume=False, progress=False).reused == 0


def test_what_was_extracted_otherwise_is_not_taken(
    whole: Path, figures: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copy(whole, tmp_path / "p.parquet"))
    monkeypatch.setattr(predict, "EXTRACTION_VERSION", EXTRACTION_VERSION + 1)
    assert predict_catalog(figures, checkpoint, out, embedding=True, progress=False).reused == 0


def test_what_cannot_work_is_refused_before_anything_starts(figures: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        predict_catalog(figures, tmp_path / "nothing", tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        predict_catalog(figures, checkpoint, tmp_path / "p.csv")
