"""Everything that was handed in becomes a track, with an id of its own."""

from pathlib import Path

import pytest

from genre_ray.data.inbox import tracks_of
from genre_ray.errors import CatalogError
from genre_ray.schema import Track


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_a_folder_gives_a_track_for_each_audio_file_good_or_bad(tmp_path: Path) -> None:
    touch(tmp_path, "loose.mp3", "rock/a.wav", "rock/live/b.flac", "rock/cover.png", "notes.txt")
    found = {track.id: track.label for track in tracks_of(tmp_path)}
    assert found == {"loose": None, "rock/a": "rock", "rock/live/b": "rock"}


def test_two_formats_of_one_name_are_two_tracks(tmp_path: Path) -> None:
    touch(tmp_path, "x/song.wav", "x/song.mp3", "x/other.mp3")
    assert [track.id for track in tracks_of(tmp_path)] == ["x/other", "x/song.mp3", "x/song.wav"]


def test_gtzan_layout_is_joined(gtzan_like) -> None:  # type: ignore[no-untyped-def]
    tracks = tracks_of(gtzan_like())
    assert len(tracks) == 6
    assert all(t.audio is not None and t.figure is not None and t.features is not None for t in tracks)


def test_videos_and_rarer_sound_are_taken_for_audio(tmp_path: Path) -> None:
    names = [f"x/song.{suffix}" for suffix in ("ape", "avi", "m4b", "mkv", "mov", "wv")]
    touch(tmp_path, *names)
    assert [track.id for track in tracks_of(tmp_path)] == names


def test_a_table_needs_only_paths(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path,label\nsub/a.mp3,rock\n/music/b.wav,\ns3://bucket/c.ogg,\nfig.png,\n")
    a, b, c, figure = tracks_of(table)
    assert (a.audio, a.label, a.id) == (tmp_path / "sub" / "a.mp3", "rock", "sub/a")
    assert (b.audio, b.label) == (Path("/music/b.wav"), None)
    assert c.audio == "s3://bucket/c.ogg"
    assert (figure.audio, figure.figure) == (None, tmp_path / "fig.png")


def test_one_file_or_a_list_of_them_will_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3")
    assert [track.id for track in tracks_of(tmp_path / "a.mp3")] == ["a"]
    assert [track.id for track in tracks_of([tmp_path / "a.mp3", Track(id="t")])] == [str(tmp_path / "a.mp3"), "t"]


def test_several_folders_keep_their_tracks_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/song.mp3", "two/song.mp3")
    tracks = tracks_of([str(tmp_path / "one"), tmp_path / "two"])
    assert [track.id for track in tracks] == [f"{tmp_path}/one/song", f"{tmp_path}/two/song"]


@pytest.mark.parametrize(("names", "message"), [((), "no audio"), (("cover.png", "x.txt"), "found: 2 other files")])
def test_a_folder_without_audio_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(CatalogError, match=message):
        tracks_of(tmp_path)


def test_an_id_given_twice_is_refused() -> None:
    with pytest.raises(CatalogError, match="given twice; found: same"):
        tracks_of([Track(id="same"), Track(id="same"), Track(id="other")])
