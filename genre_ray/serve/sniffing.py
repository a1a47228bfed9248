"""What bytes are, by their first bytes and never by a name or a declared type. Knows nothing about requests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Format and size in pixels as the header states them; nothing has been decompressed."""

    format: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})

_START_OF_SCAN = b"\xff\xda"
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})

MAX_PIECES = 1024
"""Chunks of a PNG; a figure has about twenty."""

MAX_SCANS = 64
"""Scans of a JPEG; a progressive one has about ten."""

MAX_BESIDE = 64 * 1024
"""Bytes of a PNG in chunks that hold no pixels."""

MAX_SEGMENTS = 64
"""Segments of a JPEG before its first scan; a figure has nine, a photograph with all its notes and profiles thirty."""

MAX_NOTES = 512 * 1024
"""Bytes of a JPEG in notes and profiles before its first scan."""

_NOTES = frozenset({0xFE, *range(0xE0, 0xF0)})

AUDIO_FORMATS = ("wav", "flac", "mp3", "ogg", "m4a", "aac", "aiff", "au", "webm")
"""What `audio_format` can answer."""


def image_header(content: bytes) -> ImageHeader | None:
    """The header of a PNG or JPEG; None for anything else, and for a header that is cut short or says nothing."""
    if content.startswith(_PNG):
        return _png_header(content)
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg_header(content)
    return None


def _png_header(content: bytes) -> ImageHeader | None:
    if len(content) < 33 or content[12:16] != b"IHDR":
        return None
    return ImageHeader("PNG", int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))


def _jpeg_header(content: bytes) -> ImageHeader | None:
    """Walk the segments to the first start of frame (ITU T.81, annex B); at most 256 segments are looked at."""
    position = 2
    for _ in range(256):
        if position + 9 > len(content) or content[position] != 0xFF:
            return None
        marker = content[position + 1]
        if marker == 0xFF or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
        elif marker in _START_OF_FRAME:
            height = int.from_bytes(content[position + 5 : position + 7], "big")
            width = int.from_bytes(content[position + 7 : position + 9], "big")
            return ImageHeader("JPEG", width, height)
        elif marker in (0xD9, 0xDA):
            return None
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None


def dear_to_decode(content: bytes) -> str | None:
    """Why a PNG or JPEG of a harmless size would cost much time or memory all the same; None where it would not.

    Notes and profiles inflate a thousandfold, and FFmpeg inflates them without bound. Each scan of a progressive JPEG
    is a pass over the whole picture, and takes twenty bytes; Pillow copies all notes again for each note, and reads
    what lies between segments byte by byte.
    """
    if not content.startswith(_PNG):
        return _dear_jpeg(content)
    position, pieces, beside = len(_PNG), 0, 0
    while position + 12 <= len(content) and pieces <= MAX_PIECES:
        length = int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] not in _CRITICAL:
            beside += min(length, len(content) - position)
        pieces, position = pieces + 1, position + 12 + length
    if beside > MAX_BESIDE:
        return f"{beside} bytes beside the pixels"
    return f"more than {MAX_PIECES} chunks" if pieces > MAX_PIECES else None


def _dear_jpeg(content: bytes) -> str | None:
    """The segments up to the first scan (ITU T.81, annex B), each of which begins where the last one ends."""
    scans = content.count(_START_OF_SCAN)
    if scans > MAX_SCANS:
        return f"{scans} scans"
    position, notes, frames = 2, 0, 0
    for _ in range(MAX_SEGMENTS + 1):
        if position + 4 > len(content) or content[position : position + 2] == _START_OF_SCAN:
            return None
        marker = content[position + 1]
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        if content[position] != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or marker == 0xFF or length < 2:
            return f"no segment of a JPEG at byte {position}"
        notes += length if marker in _NOTES else 0
        frames += marker in _START_OF_FRAME
        if notes > MAX_NOTES:
            return f"more than {MAX_NOTES} bytes of notes and profiles before the first scan of a JPEG"
        if frames > 1:
            return "two frames in one JPEG"
        position += 2 + length
    return f"more than {MAX_SEGMENTS} segments before the first scan of a JPEG"


def audio_format(content: bytes) -> str | None:
    """One of AUDIO_FORMATS, or None when the first bytes are of no kind that the service takes."""
    head = content[:16]
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "m4a"
    for start, name in (
        (b"fLaC", "flac"),
        (b"OggS", "ogg"),
        (b".snd", "au"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"ID3", "mp3"),
    ):
        if head.startswith(start):
            return name
    return _mpeg_frame(head)


def _mpeg_frame(head: bytes) -> str | None:
    """An MPEG audio frame header (ISO 11172-3, 2.4.1.3) or an ADTS one (ISO 14496-3, 1.A.2.2)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    bitrate, rate = head[2] >> 4, (head[2] >> 2) & 3
    return "mp3" if version != 1 and layer != 0 and bitrate not in (0, 15) and rate != 3 else None
