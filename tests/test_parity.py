"""One track, three doors (training, files, HTTP): the same Batch and the same logits."""

import base64
import json
import os
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig, RunConfig, parse
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.synthesis import compose
from genre_ray.fitted import Fitted
from genre_ray.inference import Member
from genre_ray.preprocessing import extract, samples_of
from genre_ray.schema import FEATURE_COLUMNS, Batch, Track
from genre_ray.serve.protocol import track_from_request
from genre_ray.spectrogram import figure_from_levels
from genre_ray.training import fit

DATA = os.environ.get("GENRE_RAY_DATA")
MODEL = {
    "model": {"kind": "hybrid", "cnn": {"width": 4, "stages": 3, "hidden": 16}, "mlp": {"width": 16}, "hidden": 16},
    "training": {"epochs": 1, "augment": {"crop_columns": 96, "test_crops": 2}},
}
FORMS = ("plot", "figure")


def fitted_on(catalog: Catalog, form: str) -> tuple[Fitted, ClipTable]:
    uncropped = {} if form == "plot" else {"training": {"epochs": 1}}
    run = parse(RunConfig, MODEL | {"inputs": {"spectrogram": {"form": form}}} | uncropped, origin="test")
    table = ClipTable.from_clips(clip for track in catalog.tracks for clip in extract(track, run.inputs))
    return fit(run, table, labels=catalog.labels, threads=1), table


def multipart(**files: bytes) -> tuple[bytes, str]:
    """A body as a real client builds it."""
    features = {name: value for name, value in files.items() if name == "features"}
    parts = {name: (f"{name}.bin", value) for name, value in files.items() if name != "features"}
    request = httpx.Request("POST", "http://test", files=parts, data={k: v.decode() for k, v in features.items()})
    return request.read(), request.headers["content-type"]


def assert_same(fitted: Fitted, batches: list[Batch]) -> None:
    member = Member.of(fitted, torch.device("cpu"))
    first = batches[0]
    for other in batches[1:]:
        assert first.spectrogram is not None
        assert other.spectrogram is not None
        assert first.features is not None
        assert other.features is not None
        np.testing.assert_array_equal(first.spectrogram, other.spectrogram)
        np.testing.assert_array_equal(first.features, other.features)
        np.testing.assert_array_equal(member.logits(first), member.logits(other))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return open_catalog(compose(tmp_path_factory.mktemp("parity") / "c", tracks_per_genre=1, duration_s=2.0, seed=3))


def test_audio_through_the_three_doors(composed: Catalog) -> None:
    fitted, table = fitted_on(composed, "plot")
    track = composed.tracks[4]
    assert isinstance(track.audio, str | Path)
    body, media = multipart(audio=Path(track.audio).read_bytes())
    asked = track_from_request(body, media)
    scaler = fitted.preprocessor
    row = int(np.flatnonzero(table.track == track.id)[0])
    assert_same(
        fitted,
        [
            scaler.collate(scaler.transform(track)),
            scaler.collate(scaler.transform(asked)),
            scaler.collate(samples_of(table, scaler, [row])),
        ],
    )


@pytest.mark.parametrize("form", FORMS)
def test_figure_and_row_through_the_three_doors(form: str, composed: Catalog, tmp_path: Path) -> None:
    """Figures drawn by ourselves where GTZAN is absent, so that this door is tested everywhere."""
    clips = {t.id: next(extract(t, InputConfig())) for t in composed.tracks}
    tracks = []
    for track in composed.tracks:
        place = tmp_path / f"{track.id}.png"
        picture = clips[track.id].spectrogram
        assert picture is not None
        figure_from_levels(picture).save(place)
        tracks.append(Track(id=track.id, label=track.label, figure=place, features=clips[track.id].features))
    catalog = Catalog(tracks=tuple(tracks), labels=composed.labels, faults=(), root=str(tmp_path), kind="folders")
    check_figures(form, catalog, tracks[2])


@pytest.mark.skipif(DATA is None, reason="GENRE_RAY_DATA does not name the real data")
@pytest.mark.parametrize("form", FORMS)
def test_a_real_figure_and_row_through_the_three_doors(form: str) -> None:
    assert DATA is not None
    whole = open_catalog(DATA, need=["spectrogram", "features"], sources="figures", verify=False)
    some = whole.without({t.id for t in whole.tracks if not t.id.endswith(("00011", "00012"))})
    check_figures(form, some, some.tracks[7])


def check_figures(form: str, catalog: Catalog, track: Track) -> None:
    fitted, table = fitted_on(catalog, form)
    assert isinstance(track.figure, str | Path)
    assert track.features is not None
    png = Path(track.figure).read_bytes()
    row = dict(zip(FEATURE_COLUMNS, track.features.tolist(), strict=True))
    body, media = multipart(figure=png, features=json.dumps(row).encode())
    as_json = json.dumps({"figure": base64.b64encode(png).decode(), "features": row}).encode()
    scaler = fitted.preprocessor
    place = int(np.flatnonzero(table.track == track.id)[0])
    assert_same(
        fitted,
        [
            scaler.collate(scaler.transform(track)),
            scaler.collate(scaler.transform(track_from_request(body, media))),
            scaler.collate(scaler.transform(track_from_request(as_json, "application/json"))),
            scaler.collate(samples_of(table, scaler, [place])),
        ],
    )
