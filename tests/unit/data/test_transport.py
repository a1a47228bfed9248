"""Tracks arrive at the workers as they left."""

from pathlib import Path

import numpy as np

from genre_ray.data.transport import from_arrow, place, to_arrow
from genre_ray.schema import Track


def test_tracks_come_back_with_paths_uris_bytes_and_rows() -> None:
    tracks = [
        Track(id="a", label="rock", audio="/music/ä b.wav", features=np.linspace(0, 1, 57)),
        Track(id="b", audio="s3://bucket/b.mp3", figure=b"\x89PNG"),
        Track(id="c", figure=Path("/figures/c.png")),
    ]
    back = from_arrow(to_arrow(tracks))
    assert [(t.id, t.label, t.audio, t.figure) for t in back] == [
        ("a", "rock", "/music/ä b.wav", None),
        ("b", None, "s3://bucket/b.mp3", b"\x89PNG"),
        ("c", None, None, "/figures/c.png"),
    ]
    assert back[0].features is not None
    np.testing.assert_array_equal(back[0].features, np.linspace(0, 1, 57))
    assert back[1].features is None


def test_a_relative_path_is_made_absolute_for_workers_that_stand_elsewhere() -> None:
    assert place("some/song.wav") == str(Path.cwd() / "some" / "song.wav")
