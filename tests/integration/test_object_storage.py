"""The cache and the tables on S3, through a server that speaks its protocol."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from genre_ray.config import ClipConfig, InputConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import open_catalog
from genre_ray.data.export import export_features
from genre_ray.data.pipeline import prepare
from genre_ray.data.store import Store

pytestmark = pytest.mark.ray

moto_server = pytest.importorskip("moto.server", reason="needs moto[server]", exc_type=ImportError)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("s3").create_bucket(Bucket="music")
    yield "s3://music"
    server.stop()


def test_clips_and_tables_live_on_s3(bucket: str, figures: Path, tmp_path: Path) -> None:
    with connect(num_cpus=2):  # started with the environment of this test, which the workers inherit
        catalog = open_catalog(figures)
        first = prepare(catalog, InputConfig(), cache=f"{bucket}/cache", progress=False)
        again = prepare(catalog, InputConfig(), cache=f"{bucket}/cache", progress=False)
        here = prepare(catalog, InputConfig(), cache=tmp_path, progress=False).load()
        assert (first.from_cache, again.from_cache) == (False, True)
        np.testing.assert_array_equal(again.load().spectrogram, here.spectrogram)
        np.testing.assert_array_equal(again.load().features, here.features)
        streamed = again.dataset().sort("track").take_batch(40)
        np.testing.assert_array_equal(streamed["spectrogram"], here.spectrogram)
        result = export_features(figures, f"{bucket}/tables/f.parquet", clip=ClipConfig(), progress=False)
    assert dict(result.failed) == {"incomplete": 40}
    assert Store(f"{bucket}/tables").names() == ["f.parquet"]
    assert Store(f"{bucket}/tables/f.parquet.parts").names() == []
    table = pq.read_table("music/tables/f.parquet", filesystem=_filesystem(bucket))
    assert len(table) == 40


def _filesystem(uri: str) -> object:
    from pyarrow import fs

    return fs.FileSystem.from_uri(uri)[0]
