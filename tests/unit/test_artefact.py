"""Directories that are written whole or not at all, and that tell when they are damaged."""

import json

import pytest

from genre_ray import artefact
from genre_ray.artefact import CHECKSUMS, read_directory, write_directory
from genre_ray.errors import CheckpointDamagedError, CheckpointError, CheckpointFormatError, CheckpointNotFoundError

FILES = {"a.json": b"{}", "b.bin": bytes(range(256)) * 40}


def test_what_is_written_is_read(tmp_path):
    write_directory(tmp_path / "deep" / "x", FILES)
    assert read_directory(tmp_path / "deep" / "x") == FILES


def test_nothing_else_is_left_beside_it(tmp_path):
    write_directory(tmp_path / "x", FILES)
    write_directory(tmp_path / "x", FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted([*FILES, CHECKSUMS])


def test_an_older_one_is_replaced_as_a_whole(tmp_path):
    write_directory(tmp_path / "x", FILES)
    write_directory(tmp_path / "x", {"c.json": b"[]"})
    assert read_directory(tmp_path / "x") == {"c.json": b"[]"}


def test_an_older_one_is_replaced_where_directories_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(artefact.ctypes, "CDLL", lambda *_, **__: object())
    test_an_older_one_is_replaced_as_a_whole(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    write_directory(tmp_path / "x", FILES)

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artefact.os, "fsync", full_disk)
    with pytest.raises(CheckpointError, match=r"cannot be written.*No space left.*remedy"):
        write_directory(tmp_path / "x", {"c.json": b"[]"})
    assert read_directory(tmp_path / "x") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_directory_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(CheckpointError, match="in the way"):
        write_directory(tmp_path / "photos", FILES)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_an_empty_directory_may_be_used(tmp_path):
    (tmp_path / "x").mkdir()
    write_directory(tmp_path / "x", FILES)
    assert read_directory(tmp_path / "x") == FILES


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "empty"])
@pytest.mark.parametrize("name", sorted(FILES))
def test_an_altered_file_is_refused_by_name(tmp_path, name, damage):
    write_directory(tmp_path / "x", FILES)
    path = tmp_path / "x" / name
    content = path.read_bytes()
    path.write_bytes(
        {
            "flip": bytes([content[0] ^ 1]) + content[1:],
            "truncate": content[:-1],
            "extend": content + b" ",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(CheckpointDamagedError, match=rf"{name} is damaged.*found.*expected.*remedy"):
        read_directory(tmp_path / "x")


def test_a_missing_file_is_refused_by_name(tmp_path):
    write_directory(tmp_path / "x", FILES)
    (tmp_path / "x" / "b.bin").unlink()
    with pytest.raises(CheckpointDamagedError, match=r"b\.bin is missing"):
        read_directory(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"../../secret": "00"}', b'{"a": 3}'])
def test_damaged_checksums_are_refused(tmp_path, content):
    write_directory(tmp_path / "x", FILES)
    (tmp_path / "x" / CHECKSUMS).write_bytes(content)
    with pytest.raises(CheckpointDamagedError, match="checksums"):
        read_directory(tmp_path / "x")


def test_nothing_there_and_something_else_there_are_told_apart(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"genre_ray\.tune"):
        read_directory(tmp_path / "nothing")
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        read_directory(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointFormatError, match="not a checkpoint"):
        read_directory(tmp_path / "file")


def test_file_uris_work_like_paths(tmp_path):
    write_directory(f"file://{tmp_path}/x", FILES)
    assert read_directory(f"file://{tmp_path}/x") == read_directory(tmp_path / "x") == FILES


def test_a_remote_place_gets_its_checksums_last_and_reads_back(tmp_path, monkeypatch):
    from pyarrow import fs

    opened = []

    class Recording(fs.LocalFileSystem):
        def open_output_stream(self, path, **options):
            opened.append(path.rsplit("/", 1)[1])
            return super().open_output_stream(path, **options)

    monkeypatch.setattr(artefact, "_remote", lambda uri: (Recording(), str(tmp_path / uri.split("://")[1])))
    write_directory("s3://bucket/x", FILES)
    assert opened == [*sorted(FILES), CHECKSUMS]
    assert read_directory("s3://bucket/x") == FILES
    with pytest.raises(CheckpointNotFoundError, match="s3://bucket/y"):
        read_directory("s3://bucket/y")


def test_an_unknown_scheme_is_refused():
    with pytest.raises(CheckpointNotFoundError, match="nowhere://x"):
        read_directory("nowhere://x/y")


def test_checksums_are_plain_sha256(tmp_path):
    import hashlib

    write_directory(tmp_path / "x", FILES)
    sums = json.loads((tmp_path / "x" / CHECKSUMS).read_text())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
