"""Paths, bytes and URIs are read alike, and what cannot be read says why."""

from pathlib import Path

import pytest

from genre_ray.errors import FigureError
from genre_ray.source import is_uri, name_of, open_binary, read_bytes, size_of

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a track #1.bin"
    path.write_bytes(CONTENT)
    return path


def test_path_text_uri_and_bytes_give_the_same_content(path: Path) -> None:
    for source in (path, str(path), path.as_uri(), CONTENT):
        assert read_bytes(source, limit=10_000) == CONTENT
        assert size_of(source) == len(CONTENT)
        with open_binary(source) as stream:
            stream.seek(-10, 2)
            assert stream.read() == CONTENT[-10:]


def test_the_limit_is_checked_for_every_kind_of_source(path: Path) -> None:
    for source in (path, path.as_uri(), CONTENT):
        with pytest.raises(FigureError, match=r"found: 2560 bytes; expected: at most 100 bytes") as caught:
            read_bytes(source, limit=100, kind=FigureError)
        assert caught.value.kind == "too_large"


@pytest.mark.parametrize("source", ["missing", "nowhere://x/y", "file:///missing/file", "nul\0byte"])
def test_a_missing_source_is_an_error_of_the_kind_asked_for(source: str) -> None:
    with pytest.raises(FigureError, match="cannot be read") as caught:
        read_bytes(source, limit=100, kind=FigureError)
    assert caught.value.kind == "not_found"


def test_a_name_hides_credentials_and_shortens() -> None:
    assert name_of("s3://key:secret@bucket/song.wav") == "s3://***@bucket/song.wav"
    assert name_of(b"abc") == "<3 bytes>"
    assert name_of("x" * 500, "blues.00001") == "blues.00001"
    assert len(name_of("x" * 500)) < 130


def test_only_text_with_a_scheme_is_a_uri() -> None:
    assert is_uri("s3://bucket/key")
    assert not is_uri("C:/music/song.wav")
    assert not is_uri(b"s3://bucket/key")
