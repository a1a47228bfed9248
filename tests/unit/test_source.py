"""Paths, bytes and URIs are read alike, and what cannot be read says why."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

import genre_ray.source
from genre_ray.audio import read_clips
from genre_ray.config import ClipConfig
from genre_ray.errors import AudioError, FigureError
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


class Broken(io.RawIOBase):
    """Storage that goes away after `whole` bytes."""

    def __init__(self, content: bytes, whole: int) -> None:
        self._content, self._whole = io.BytesIO(content), whole

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._content.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:
        if self._content.tell() >= self._whole:
            raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation")
        return self._content.readinto(buffer)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], None]:
    """Makes every remote object this content, of which so many bytes can be read."""

    def set_up(content: bytes, whole: int) -> None:
        monkeypatch.setattr(genre_ray.source, "_remote_size", lambda uri, name, kind: len(content))
        monkeypatch.setattr(
            genre_ray.source, "_open_remote", lambda uri: io.BufferedReader(Broken(content, whole), 1024)
        )

    return set_up


def decode(stream: BinaryIO, complaint: str | None = None) -> bytes:
    """A decoder that makes the best of what it gets, or complains about it."""
    content = stream.read()
    if complaint is not None:
        raise ValueError(complaint)
    return content


@pytest.mark.parametrize("complaint", [None, "not a picture"])
def test_storage_that_goes_away_is_unreachable_whatever_the_decoder_makes_of_it(
    away: Callable[[bytes, int], None], complaint: str | None
) -> None:
    away(CONTENT, 1024)
    with pytest.raises(FigureError, match="NETWORK_CONNECTION") as caught:  # noqa: SIM117 - one raises, one is left
        with open_binary("s3://bucket/a", track="a", kind=FigureError) as stream:
            decode(stream, complaint)
    assert (caught.value.kind, caught.value.track) == ("unreachable", "a")
    with pytest.raises(AudioError, match="cannot be read") as whole:
        read_bytes("s3://bucket/a", limit=10_000)
    assert whole.value.kind == "unreachable"


def test_storage_that_stays_gives_the_content_and_its_errors_pass(away: Callable[[bytes, int], None]) -> None:
    away(CONTENT, 10_000)
    assert read_bytes("s3://bucket/a", limit=10_000) == CONTENT
    with open_binary("s3://bucket/a") as stream:
        stream.seek(-10, 2)
        assert stream.tell() == len(CONTENT) - 10
        assert stream.read() == CONTENT[-10:]
    with pytest.raises(ValueError, match="not a picture"), open_binary("s3://bucket/a") as stream:
        decode(stream, "not a picture")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
@pytest.mark.parametrize("whole", [0.0, 0.1, 0.7])
def test_sound_whose_storage_goes_away_is_unreachable_and_not_damaged(
    away: Callable[[bytes, int], None], kind: str, whole: float
) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.random.default_rng(0).uniform(-0.1, 0.1, 22_050 * 30), 22_050, format=kind)
    away(content.getvalue(), round(whole * len(content.getvalue())))
    with pytest.raises(AudioError) as caught:
        list(read_clips("s3://bucket/a", clip=ClipConfig(), track="a"))
    assert caught.value.kind == "unreachable"


def test_a_name_hides_credentials_and_shortens() -> None:
    assert name_of("s3://key:secret@bucket/song.wav") == "s3://***@bucket/song.wav"
    assert name_of(b"abc") == "<3 bytes>"
    assert name_of("x" * 500, "blues.00001") == "blues.00001"
    assert len(name_of("x" * 500)) < 130


def test_only_text_with_a_scheme_is_a_uri() -> None:
    assert is_uri("s3://bucket/key")
    assert not is_uri("C:/music/song.wav")
    assert not is_uri(b"s3://bucket/key")
