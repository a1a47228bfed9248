"""What the first bytes of a file say: its container, and the length that its header declares. Decodes no sound.

Sources: RIFF (Microsoft 1991) and RF64 (EBU Tech 3306), AIFF 1.3 (Apple 1989), .au (Sun), FLAC (RFC 9639), MPEG audio
(ISO/IEC 11172-3, 13818-3) with Xing's and Fraunhofer's VBR headers, ISO base media (ISO/IEC 14496-12), ASF (Microsoft).
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

_START = 64
_MP3_SEARCH = 1 << 17
_MP3_CHAIN = 4
_MAX_CHUNKS = 1000
_UNTOLD_BYTES = 0x7FFF_0000
"""Data sizes from here on are what programs write that cannot seek back to fill in the real one."""

_OGG_PAGE = 65307
"""Largest page of Ogg."""

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_SEARCH = 1 << 16
_ENOUGH = 0.9

_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""Bytes a sample by encoding."""

_SIMPLE_WAV_CODES = frozenset({1, 3, 6, 7, 0xFFFE})
_BITRATES_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = (44100, 48000, 32000)


@dataclass(frozen=True, slots=True)
class Header:
    """The `container` ("other" where FFmpeg must find out), `size` of the file in bytes and its `start`.

    `body` is where it begins after any ID3 tags.
    `frames` is the length that the header declares, if it does. `is_cut` is true where the structure of the file itself
    shows that its end is missing.
    """

    container: str
    size: int
    start: bytes
    frames: int | None = None
    is_cut: bool = False
    body: int = 0


def read_header(stream: BinaryIO) -> Header:
    """Look at a seekable stream; never raises for what it finds, and reads little."""
    size = stream.seek(0, os.SEEK_END)
    start = _read(stream, 0, _START)
    body = _after_id3(stream, start)
    magic = start if body == 0 else _read(stream, body, _START)
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64") and magic[8:12] == b"WAVE":
        order = "big" if magic[:4] == b"RIFX" else "little"
        return Header("rf64" if magic[:4] == b"RF64" else "wav", size, start, _wav_frames(stream, body, order))
    if magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        return Header("aiff", size, start, _aiff_frames(stream, body))
    if magic[:4] == b"fLaC":
        total = int.from_bytes(magic[21:26], "big") & 0xF_FFFF_FFFF
        return Header("flac", size, start, total or None)
    if magic[:4] == b"OggS":
        return Header("ogg", size, start, is_cut=_is_ogg_cut(stream, size))
    if magic[:4] == b".snd":
        return Header("au", size, start, _au_frames(magic))
    if magic[:16] == _ASF_HEADER:
        return Header("asf", size, start, is_cut=_is_asf_cut(_read(stream, body, _ASF_SEARCH), size - body))
    for container, mark in (("caf", b"caff"), ("w64", b"riff\x2e\x91\xcf\x11")):
        if magic.startswith(mark):
            return Header(container, size, start)
    if magic[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return Header("mp4", size, start, is_cut=_is_mp4_cut(stream, body, size), body=body)
    found = _find_mp3(stream, body, size)
    return Header("mp3", size, start, found[1]) if found is not None else Header("other", size, start)


def _read(stream: BinaryIO, offset: int, count: int) -> bytes:
    stream.seek(offset)
    return stream.read(count)


def _after_id3(stream: BinaryIO, start: bytes) -> int:
    """Where the sound begins after any ID3v2 tags (id3.org, 2.4.0 § 3.1)."""
    offset = 0
    head = start[:10]
    for _ in range(_MAX_CHUNKS):
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
            break
        length = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
        offset += 10 + length + (10 if head[5] & 0x10 else 0)
        head = _read(stream, offset, 10)
    return offset


def _wav_frames(stream: BinaryIO, body: int, order: str) -> int | None:
    """Frames that the data chunk declares; None for block codecs, placeholders and RF64."""
    offset, block = body + 12, 0
    for _ in range(_MAX_CHUNKS):
        head = _read(stream, offset, 24)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]  # "little" or "big"
        if head[:4] == b"fmt " and len(head) == 24:
            code = int.from_bytes(head[8:10], order)  # type: ignore[arg-type]
            block = int.from_bytes(head[20:22], order) if code in _SIMPLE_WAV_CODES else 0  # type: ignore[arg-type]
        if head[:4] == b"data":
            return length // block if block and 0 < length < _UNTOLD_BYTES else None
        offset += 8 + length + (length & 1)
    return None


def _aiff_frames(stream: BinaryIO, body: int) -> int | None:
    offset = body + 12
    for _ in range(_MAX_CHUNKS):
        head = _read(stream, offset, 14)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:8], "big")
        if head[:4] == b"COMM":
            return int.from_bytes(head[10:14], "big") or None
        offset += 8 + length + (length & 1)
    return None


def _au_frames(magic: bytes) -> int | None:
    length, code, channels = (int.from_bytes(magic[at : at + 4], "big") for at in (8, 12, 20))
    block = channels * _AU_BYTES.get(code, 0)
    return length // block if block and 0 < length < _UNTOLD_BYTES else None


def _is_ogg_cut(stream: BinaryIO, size: int) -> bool:
    """Whether the last page lacks the mark of a stream's end (RFC 3533)."""
    tail = _read(stream, max(size - _OGG_PAGE, 0), _OGG_PAGE)
    at = tail.rfind(b"OggS")
    return at < 0 or tail[at + 5 : at + 6] == b"" or not tail[at + 5] & 4


def _is_asf_cut(head: bytes, size: int) -> bool:
    """Whether a tenth or more of the size is missing that the file properties declare."""
    at = head.find(_ASF_PROPERTIES)
    declared = int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0
    return size < _ENOUGH * declared


def _is_mp4_cut(stream: BinaryIO, body: int, size: int) -> bool:
    """Whether the boxes at the top overrun the file, or the index (`moov`) is missing."""
    offset, has_index = body, False
    for _ in range(_MAX_CHUNKS):
        head = _read(stream, offset, 16)
        if len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        has_index = has_index or head[4:8] == b"moov"
        if length == 0:
            return not has_index
        if length < 8 or offset + length > size:
            return True
        offset += length
    return not has_index


def _find_mp3(stream: BinaryIO, body: int, size: int) -> tuple[int, int | None] | None:
    """Offset of the first of several frames of MPEG audio in a row, and the samples that a VBR header declares.

    One frame's sync word turns up in any text or noise; four that follow each other at the distances they state do not.
    """
    window = _read(stream, body, _MP3_SEARCH + 8192)
    at = window.find(b"\xff")
    while 0 <= at < _MP3_SEARCH:
        if _is_chain(window, at, at_end=body + len(window) >= size):
            return body + at, _vbr_samples(window, at)
        at = window.find(b"\xff", at + 1)
    return None


def _is_chain(window: bytes, at: int, *, at_end: bool) -> bool:
    """Whether frames of one kind follow each other from `at`; at least two where the file ends (perhaps with a tag)."""
    first = window[at : at + 4]
    for count in range(_MP3_CHAIN):
        head = window[at : at + 4]
        length = _mp3_frame_length(head)
        if length == 0 or (head[1], head[2] & 0x0C) != (first[1], first[2] & 0x0C):
            return count >= 2 and at_end and (len(head) < 4 or head[:3] == b"TAG")
        at += length
    return True


def _mp3_frame_length(head: bytes) -> int:
    """Bytes of the layer III frame with this header; 0 if it is none (or of free format, which nobody writes)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = (head[1] >> 3) & 3, head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    kbps = (_BITRATES_V1 if version == 3 else _BITRATES_V2)[bitrate]
    hertz = _MP3_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if version == 3 else 72) * kbps * 1000 // hertz + ((head[2] >> 1) & 1)


def _vbr_samples(window: bytes, at: int) -> int | None:
    """Samples that a Xing, Info or VBRI header in the first frame declares."""
    is_v1, is_mono = (window[at + 1] >> 3) & 3 == 3, window[at + 3] >> 6 == 3
    per_frame = 1152 if is_v1 else 576
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[(is_v1, is_mono)]
    xing = at + 4 + side
    if window[xing : xing + 4] in (b"Xing", b"Info") and window[xing + 7 : xing + 8] and window[xing + 7] & 1:
        return int.from_bytes(window[xing + 8 : xing + 12], "big") * per_frame or None
    if window[at + 36 : at + 40] == b"VBRI":
        return int.from_bytes(window[at + 50 : at + 54], "big") * per_frame or None
    return None
