import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from genre_ray.serve import sniffing


@pytest.mark.parametrize(("form", "size"), [("PNG", (432, 288)), ("JPEG", (17, 5)), ("PNG", (1, 1))])
def test_the_header_states_format_and_size(form: str, size: tuple[int, int]) -> None:
    content = io.BytesIO()
    Image.new("RGB", size).save(content, form)
    assert sniffing.image_header(content.getvalue()) == sniffing.ImageHeader(form, *size)


def test_only_the_first_bytes_of_a_bomb_are_needed() -> None:
    content = io.BytesIO()
    Image.new("1", (13_400, 13_400)).save(content, "PNG")
    header = sniffing.image_header(content.getvalue()[:64])
    assert header is not None
    assert header.pixels == 13_400**2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + b"\0" * 40,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9" + b"\0" * 20,
        b"RIFF" * 20,
    ],
)
def test_what_is_no_image_has_no_header(content: bytes) -> None:
    assert sniffing.image_header(content) is None


def test_a_jpeg_of_endless_segments_ends() -> None:
    assert sniffing.image_header(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100_000) is None


def jpeg(**options: object) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (432, 288)).save(content, "JPEG", **options)
    return content.getvalue()


NOTE = b"\xff\xe1\x00\x1cExif\0\0" + bytes(20)


@pytest.mark.parametrize(
    ("inserted", "reason"),
    [
        (NOTE * 200, "64 segments"),
        (b"\xff\xdb\x00\x02" * 200, "64 segments"),
        ((b"\xff\xfe\xff\xff" + bytes(65533)) * 9, "bytes of notes"),
        (b"\xff" * 5, "no segment"),
        (bytes(5), "no segment"),
        (b"\xff\xd0", "no segment"),
        (b"\xff\xe1\x00\x01", "no segment"),
        (b"\xff\xc2\x00\x08\x08\x00\x01\x00\x01\x00", "two frames"),
    ],
)
def test_what_lies_before_the_scans_of_a_jpeg_is_little(inserted: bytes, reason: str) -> None:
    good = jpeg()
    start = good.index(b"\xff\xc0")
    end = start + 2 + int.from_bytes(good[start + 2 : start + 4], "big")
    assert reason in str(sniffing.dear_to_decode(good[:end] + inserted + good[end:]))


def test_photographs_with_all_their_notes_are_taken() -> None:
    notes, profile = b"Exif\0\0" + bytes(60_000), bytes(250_000)
    for options in ({}, {"progressive": True}, {"exif": notes, "icc_profile": profile, "comment": bytes(9000)}):
        content = jpeg(quality=95, **options)
        assert sniffing.dear_to_decode(content) is None
        assert sniffing.dear_to_decode(content[: len(content) // 2]) is None
    assert sniffing.dear_to_decode(b"\xff\xd8\xff") is None


@pytest.mark.parametrize(
    ("form", "name"), [("WAV", "wav"), ("FLAC", "flac"), ("OGG", "ogg"), ("AIFF", "aiff"), ("AU", "au"), ("MP3", "mp3")]
)
def test_audio_is_known_by_its_first_bytes(form: str, name: str) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(22050, np.float32), 22050, format=form)
    assert sniffing.audio_format(content.getvalue()) == name


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xff\xff\xff", b"MZ\x90\x00", b"%PDF-1.7", b"<html>", b"PK\x03\x04"]
)
def test_other_files_are_no_audio(content: bytes) -> None:
    assert sniffing.audio_format(content) is None
