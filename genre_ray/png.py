"""The pixels of a plain PNG through FFmpeg, in two thirds of Pillow's time. Knows nothing about what they show.

Only what is sound beyond doubt goes this way: 8-bit RGBA, of the size that is asked for, each chunk with its checksum,
decoded to the last row. For everything else the caller asks Pillow, which can also say what is wrong.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGBA_8_BIT = bytes(
    (8, 6, 0, 0, 0)
)  # depth, colour type, compression, filter, not interlaced (PNG specification, 11.2.2)
_OPAQUE = 255


def plain_rgba(data: bytes, *, width: int, height: int) -> NDArray[np.uint8] | None:
    """Pixels (height, width, 4) of an opaque PNG, the same as Pillow's; None when it is not of the plain kind."""
    header = width.to_bytes(4) + height.to_bytes(4) + _RGBA_8_BIT
    if not data.startswith(_SIGNATURE) or data[12:29] != b"IHDR" + header or not _is_whole(data):
        return None
    import av  # takes 0.2 s, which callers without pictures need not spend

    # A context for each picture, since FFmpeg gives a fresh one zeroed memory: rows that were not decoded are seen.
    context = av.CodecContext.create("png", "r")
    context.thread_count = 1
    try:
        frames = context.decode(av.Packet(data))
    except (av.FFmpegError, ValueError):
        return None
    if len(frames) != 1 or frames[0].format.name != "rgba":
        return None
    pixels = frames[0].to_ndarray().view(np.uint8)
    return pixels if pixels.shape == (height, width, 4) and bool((pixels[-1, :, 3] == _OPAQUE).all()) else None


def _is_whole(data: bytes) -> bool:
    """Whether the chunks follow each other to the last byte, each with the checksum that it should have."""
    view, start = memoryview(data), len(_SIGNATURE)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4])
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        if bytes(view[start + 4 : start + 8]) == b"IEND":
            return end + 4 == len(data)
        start = end + 4
    return False
