"""The quick way to a PNG's pixels gives Pillow's pixels, or nothing."""

import io
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genre_ray import png
from genre_ray.errors import FigureError
from genre_ray.figure import HEIGHT, WIDTH, levels_of, read_figure
from genre_ray.magma import magma_colours
from genre_ray.png import plain_rgba


def picture(mode: str = "RGBA", size: tuple[int, int] = (WIDTH, HEIGHT), **options: object) -> bytes:
    generator = np.random.default_rng(1)
    pixels = np.full((size[1], size[0], 4), 255, np.uint8)
    pixels[20:200, 30:300, :3] = generator.integers(0, 256, (180, 270, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG", **options)
    return stream.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, start = [], 8
    while start < len(data):
        size = int.from_bytes(data[start : start + 4])
        found.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + size]))
        start += 12 + size
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    sealed = (len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def with_rows_missing(data: bytes) -> bytes:
    """All checksums right, but the pixels end early, in the middle of a row."""
    parts = chunks(data)
    raw = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    head = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
    return joined([*head, (b"IDAT", zlib.compress(raw[: len(raw) // 2 + 7])), (b"IEND", b"")])


def test_pixels_are_those_of_pillow() -> None:
    data = picture()
    np.testing.assert_array_equal(
        plain_rgba(data, width=WIDTH, height=HEIGHT), np.asarray(Image.open(io.BytesIO(data)))
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"no picture at all" * 10,
        picture("RGB"),
        picture("L"),
        picture(size=(WIDTH, HEIGHT + 1)),
        picture()[:-1],
        picture()[:20_000],
        picture() + b"tail",
        joined(chunks(picture())[:-1]),
        with_rows_missing(picture()),
    ],
)
def test_anything_else_is_left_to_pillow(data: bytes) -> None:
    assert plain_rgba(data, width=WIDTH, height=HEIGHT) is None


def of_rows(raw: bytes, *, chunk: int | None = None) -> bytes:
    """A PNG of the plain kind whose packed rows are `raw`, in chunks of `chunk` bytes."""
    packed = zlib.compress(raw)
    step = chunk or len(packed)
    bodies = [(b"IDAT", packed[i : i + step]) for i in range(0, len(packed), step)]
    return joined([chunks(picture())[0], *bodies, (b"IEND", b"")])


def filtered(kinds: NDArray[np.uint8]) -> bytes:
    """Noise after each row's type of filter: whatever it decodes to, every decoder must say the same."""
    rows = np.random.default_rng(2).integers(0, 256, (HEIGHT, 1 + 4 * WIDTH), dtype=np.uint8)
    rows[:, 0] = kinds
    return rows.tobytes()


@pytest.mark.parametrize("kind", range(5))
def test_each_type_of_filter_is_undone_as_pillow_does(kind: int) -> None:
    data = of_rows(filtered(np.full(HEIGHT, kind, np.uint8)))
    np.testing.assert_array_equal(
        plain_rgba(data, width=WIDTH, height=HEIGHT), np.asarray(Image.open(io.BytesIO(data)))
    )


def test_rows_of_all_filters_in_many_chunks_are_undone_as_pillow_does() -> None:
    data = of_rows(filtered(np.random.default_rng(5).integers(0, 5, HEIGHT).astype(np.uint8)), chunk=8192)
    np.testing.assert_array_equal(
        plain_rgba(data, width=WIDTH, height=HEIGHT), np.asarray(Image.open(io.BytesIO(data)))
    )


def test_an_unknown_filter_is_left_to_pillow() -> None:
    assert plain_rgba(of_rows(filtered(np.full(HEIGHT, 5, np.uint8))), width=WIDTH, height=HEIGHT) is None


def test_without_isal_the_standard_library_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = plain_rgba(picture(), width=WIDTH, height=HEIGHT)
    monkeypatch.setattr(png, "inflating", zlib)
    np.testing.assert_array_equal(plain_rgba(picture(), width=WIDTH, height=HEIGHT), quick)


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_a_bomb_is_unpacked_no_further_than_the_picture_needs(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "zlib":
        monkeypatch.setattr(png, "inflating", zlib)
    data = of_rows(bytes(200 * 1024**2))
    tracemalloc.start()
    try:
        assert plain_rgba(data, width=WIDTH, height=HEIGHT) is None
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "parts",
    [
        lambda head, body, end: [head, head, body, end],
        lambda head, body, end: [head, (b"acTL", bytes(8)), body, end],
        lambda head, body, end: [head, (body[0], body[1] + b"more"), end],
        lambda head, body, end: [head, (body[0], body[1][:-4] + bytes(4)), end],
        lambda head, body, end: [head, end],
    ],
    ids=["two headers", "an animation", "bytes after the stream", "a wrong checksum in the stream", "no pixels"],
)
def test_odd_files_are_left_to_pillow(parts: Callable[..., list[tuple[bytes, bytes]]]) -> None:
    head, body, end = chunks(of_rows(filtered(np.zeros(HEIGHT, np.uint8))))
    assert plain_rgba(joined([head, body, end]), width=WIDTH, height=HEIGHT) is not None
    assert plain_rgba(joined(parts(head, body, end)), width=WIDTH, height=HEIGHT) is None


def test_one_wrong_bit_is_seen() -> None:
    data = bytearray(picture())
    data[len(data) // 2] ^= 1
    assert plain_rgba(bytes(data), width=WIDTH, height=HEIGHT) is None


def with_a_short_profile(data: bytes) -> bytes:
    """A profile of no content after the pixels, over which Pillow stumbles with an IndexError."""
    *parts, end = chunks(data)
    return joined([*parts, (b"iCCP", b"k\0"), end])


DAMAGED = [picture()[:20_000], with_rows_missing(picture()), with_a_short_profile(picture("RGB")), b"text"]


@pytest.mark.parametrize("data", DAMAGED, ids=["cut", "rows missing", "a short profile", "text"])
def test_what_is_damaged_is_still_refused_as_undecodable(data: bytes) -> None:
    with pytest.raises(FigureError, match="cannot be decoded") as caught:
        read_figure(data)
    assert caught.value.kind == "undecodable"


def test_both_ways_lead_to_the_same_figure() -> None:
    assert plain_rgba(picture("RGB"), width=WIDTH, height=HEIGHT) is None
    np.testing.assert_array_equal(read_figure(picture("RGB")), read_figure(picture("RGBA")))


def test_each_colour_of_magma_is_its_own_level() -> None:
    levels = levels_of(magma_colours()[np.newaxis])
    np.testing.assert_array_equal(levels[0], np.arange(256))


def test_another_colour_is_the_nearest_level() -> None:
    colours = np.clip(magma_colours().astype(np.int64) + np.array([2, -1, 1]), 0, 255)
    distance = ((colours[:, np.newaxis] - magma_colours().astype(np.int64)) ** 2).sum(axis=-1)
    levels = levels_of(colours.astype(np.uint8)[np.newaxis])[0]
    np.testing.assert_array_equal(distance[np.arange(256), levels], distance.min(axis=1))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("GENRE_RAY_DATA"), reason="GENRE_RAY_DATA does not name GTZAN")
def test_every_figure_of_gtzan_goes_the_quick_way_and_gives_the_same_pixels() -> None:
    paths = sorted(Path(os.environ["GENRE_RAY_DATA"], "images_original").rglob("*.png"))
    assert len(paths) == 999
    for path in paths:
        quick = plain_rgba(path.read_bytes(), width=WIDTH, height=HEIGHT)
        assert quick is not None, path
        np.testing.assert_array_equal(quick, np.asarray(Image.open(path)), err_msg=str(path))
