"""Tables of MP4 files that promise more than there is, and the good ones beside them."""

import io
import runpy
import struct
from pathlib import Path
from typing import Any

import av
import pytest

from genre_ray.audio import load
from genre_ray.errors import AudioError
from genre_ray.sample_tables import MAX_ENTRIES, MAX_TRACKS, implausible_tables

attacks: Any = runpy.run_path(str(Path(__file__).parents[1] / "e2e/serve/attacks.py"))
mp4, track, box, numbers = (attacks[name] for name in ("mp4", "mp4_track", "box", "numbers"))


def found(content: bytes) -> str | None:
    return implausible_tables(io.BytesIO(content), 0, len(content))


FORGED = {
    "more samples than bytes": (mp4(track(10_000_000)), "10000000 samples declared in"),
    "several tracks of them": (mp4(*[track(1000)] * 4, data=bytes(500)), "4000 samples declared"),
    "samples for fragments": (mp4(box(b"moof", box(b"traf", numbers(b"trun", 1 << 24)))), "samples declared"),
    "more packets than any music has": (mp4(track(MAX_ENTRIES + 1), data=bytes(MAX_ENTRIES)), "packets declared"),
    "the same samples again and again": (mp4(track(1000, edits=5000), data=bytes(1000)), "5000000 packets"),
    "chunks of PCM without end": (mp4(track(2**31, step=1)), "packets declared"),
    "a packed index": (attacks["packed_mp4"](1000), "cmov"),
    "tracks without end": (mp4(*[track(1)] * (MAX_TRACKS + 1)), "16 tracks"),
    "boxes without end": (mp4() + box(b"free") * 100_001 + box(b"moov", track(10**6)), "samples declared"),
    "fragments without end": (mp4() + box(b"moof") * 100_001, "boxes"),
    "an index called free": (mp4() + box(b"free", box(b"moov", track(10**6))), "samples declared"),
    "tables in a box of no use": (mp4(box(b"udta", track(10**6))), "samples declared"),
    "behind a box of no size": (mp4() + bytes(8) + mp4(track(10**6)), "samples declared"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_table_that_promises_too_much_is_refused_unopened(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, reason = FORGED[kind]
    assert reason in str(found(content))
    monkeypatch.setattr("genre_ray.decoding.av.open", None)
    with pytest.raises(AudioError, match=reason) as refused:
        load(content)
    assert refused.value.kind == "not_audio"


def test_what_the_sound_happens_to_spell_is_no_table() -> None:
    data = b"trakstsz" + struct.pack(">III", 0, 0, 2**31) + b"cmovtrun" * 50
    assert found(mp4(track(50), data=data)) is None
    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + len(data)) + data
    assert found(mp4(track(50)) + wide + box(b"free")) is None


def test_an_hour_of_pcm_has_few_packets() -> None:
    """One sample a frame, but FFmpeg reads a thousand of them at once."""
    assert found(mp4(track(3600 * 48_000, step=1))) is None


def test_tables_that_lie_across_two_reads_are_counted() -> None:
    for gap in range((1 << 20) - 700, (1 << 20) - 100, 37):
        assert "samples declared" in str(found(mp4(box(b"free", bytes(gap)), track(10**8))))


def test_a_video_of_many_packets_is_plausible(tmp_path: Path) -> None:
    path = tmp_path / "fragments.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov", "frag_duration": "20000"}) as file:
        stream = file.add_stream("aac", rate=22050)
        stream.layout = "mono"
        for index in range(200):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.planes[0].update(bytes(4096))
            frame.sample_rate, frame.pts = 22050, 1024 * index
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    content = path.read_bytes()
    assert content.count(b"moof") > 20
    assert found(content) is None
    assert len(load(content)) > 200_000
