import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genre_ray.data import verification
from genre_ray.data.catalog import Catalog, Fault, open_catalog
from genre_ray.data.faults import FaultLog
from genre_ray.data.gtzan import duplicates
from genre_ray.data.inbox import tracks_of
from genre_ray.errors import CatalogError
from genre_ray.schema import FEATURE_COLUMNS, GENRES

Build = Callable[..., Path]
ALL = ("blues.00000", "blues.00001", "blues.00002", "rock.00000", "rock.00001", "rock.00002")


def ids(catalog: Catalog) -> tuple[str, ...]:
    return tuple(track.id for track in catalog.tracks)


def fault(catalog: Catalog, kind: str) -> Fault:
    found = [fault for fault in catalog.faults if fault.kind == kind]
    assert len(found) == 1, f"{kind} among {[f.kind for f in catalog.faults]}"
    return found[0]


def test_figures_rows_and_audio_are_joined_on_the_track_id(gtzan_like: Build) -> None:
    catalog = open_catalog(gtzan_like())
    assert ids(catalog) == ALL
    assert catalog.labels == ("blues", "rock")
    assert catalog.faults == ()
    track = catalog.by_id["rock.00001"]
    assert str(track.audio).endswith("rock.00001.wav")
    assert str(track.figure).endswith("rock00001.png")
    np.testing.assert_allclose(track.features, 101 + np.arange(57) / 10)


@pytest.mark.parametrize("name", ["corpus", "corpus/Data", "corpus/archive", "corpus/archive/Data"])
def test_the_layout_is_found_at_the_root_below_data_and_below_an_only_folder(gtzan_like: Build, name: str) -> None:
    root = gtzan_like(name)
    while root.name != "corpus":
        root = root.parent
    assert ids(open_catalog(root)) == ALL


@pytest.mark.parametrize("part", ["figures", "rows", "audio"])
def test_any_one_of_the_three_parts_is_a_corpus(gtzan_like: Build, part: str) -> None:
    catalog = open_catalog(gtzan_like(parts=[part]))
    assert ids(catalog) == ALL
    assert catalog.faults == ()


@pytest.mark.parametrize(
    "audio",
    [
        "genres/{genre}/{genre}.{number:05d}.au",
        "genres_original/{genre}/{genre}_{number:05d}.wav",
        "genres_original/{genre}/{genre}{number:05d}.flac",
    ],
)
def test_other_spellings_of_the_audio_files_give_the_same_ids(gtzan_like: Build, audio: str) -> None:
    catalog = open_catalog(gtzan_like(audio=audio))
    assert ids(catalog) == ALL
    assert all(track.audio and track.figure and track.features is not None for track in catalog.tracks)


def test_bare_genre_folders_are_a_corpus_and_nested_folders_are_not_artists(
    tmp_path: Path, files: SimpleNamespace
) -> None:
    files.sound(tmp_path / "tango" / "Orchestra" / "La cumparsita.wav")
    files.sound(tmp_path / "fado" / "a.flac", 300)
    catalog = open_catalog(tmp_path)
    assert ids(catalog) == ("fado/a", "tango/Orchestra/La cumparsita")
    assert catalog.labels == ("fado", "tango")
    assert catalog.kind == "folders"
    assert {track.artist for track in catalog.tracks} == {None}


def test_gtzan_genres_keep_their_order_and_others_are_sorted(
    gtzan_like: Build, tmp_path: Path, files: SimpleNamespace
) -> None:
    assert open_catalog(gtzan_like(genres=("rock", "jazz", "pop"))).labels == ("jazz", "pop", "rock")
    for genre in ("rock", "zouk", "ambient"):
        files.sound(tmp_path / "own" / genre / "a.wav", 200 + len(genre))
    assert open_catalog(tmp_path / "own").labels == ("ambient", "rock", "zouk")


def test_extra_columns_and_either_line_end_are_read(gtzan_like: Build, tmp_path: Path, files: SimpleNamespace) -> None:
    rows = [
        files.row("blues.00000.wav", "blues") | {"danceability": "high"},
        files.row("rock.00000.wav", "rock", 1) | {"danceability": ""},
    ]
    for line_end in ("\n", "\r\n"):
        files.rows(tmp_path / "x" / "features_30_sec.csv", rows, line_end)
        catalog = open_catalog(tmp_path / "x", need=["features"])
        assert catalog.labels == ("blues", "rock")
        assert catalog.faults == ()


def test_a_track_without_figure_and_audio_is_left_out_and_listed_once(gtzan_like: Build) -> None:
    root = gtzan_like(parts=("figures", "rows"))
    (root / "images_original/rock/rock00001.png").unlink()
    catalog = open_catalog(root, need=["spectrogram", "features"])
    assert "rock.00001" not in ids(catalog)
    missing = fault(catalog, "missing-figure")
    assert missing.tracks == missing.left_out == ("rock.00001",)
    assert "1 left out" in catalog.fault_report()
    assert ids(open_catalog(root, need=["features"])) == ALL


def test_audio_stands_in_for_a_missing_figure_and_a_missing_row(gtzan_like: Build) -> None:
    root = gtzan_like()
    (root / "images_original/rock/rock00001.png").unlink()
    rows = (root / "features_30_sec.csv").read_text().splitlines()
    (root / "features_30_sec.csv").write_text("\n".join(line for line in rows if "blues.00002" not in line))
    catalog = open_catalog(root, need=["spectrogram", "features"])
    assert ids(catalog) == ALL
    assert fault(catalog, "missing-figure").tracks == ("rock.00001",)
    assert fault(catalog, "missing-row").tracks == ("blues.00002",)
    assert fault(catalog, "missing-row").left_out == ()


@pytest.mark.parametrize("cut", [0, 4, 60, -20])
def test_a_figure_that_is_cut_short_is_unreadable(gtzan_like: Build, cut: int) -> None:
    root = gtzan_like(parts=["figures"])
    path = root / "images_original/blues/blues00000.png"
    path.write_bytes(path.read_bytes()[:cut])
    catalog = open_catalog(root, need=["spectrogram"])
    assert fault(catalog, "unreadable-figure").left_out == ("blues.00000",)
    assert [fault.kind for fault in catalog.faults] == ["unreadable-figure"]


def test_a_figure_of_another_size_is_named_with_its_size(gtzan_like: Build, files: SimpleNamespace) -> None:
    root = gtzan_like(parts=["figures"])
    files.figure(root / "images_original/blues/blues00001.png", size=(640, 480))
    found = fault(open_catalog(root), "wrong-size-figure")
    assert found.tracks == ("blues.00001",)
    assert "640×480 instead of 432×288" in found.detail


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 50])
def test_a_file_that_is_no_audio_is_unreadable_and_the_others_stay(gtzan_like: Build, content: bytes) -> None:
    root = gtzan_like(parts=["audio"])
    (root / "genres_original/rock/rock.00002.wav").write_bytes(content)
    catalog = open_catalog(root)
    assert fault(catalog, "unreadable-audio").left_out == ("rock.00002",)
    assert ids(catalog) == ALL[:-1]


def test_audio_without_a_sample_is_unreadable(gtzan_like: Build, files: SimpleNamespace) -> None:
    root = gtzan_like(parts=["audio"])
    files.sound(root / "genres_original/rock/rock.00002.wav", duration_s=0.0)
    assert "no samples" in fault(open_catalog(root), "unreadable-audio").detail


@pytest.mark.parametrize(("value", "shown"), [("nan", "nan"), ("inf", "inf"), ("", "''"), ("many", "'many'")])
def test_a_value_that_is_no_finite_number_spoils_its_row_only(
    tmp_path: Path, value: str, shown: str, files: SimpleNamespace
) -> None:
    rows = [
        files.row("blues.00000.wav", "blues"),
        files.row("rock.00000.wav", "rock", 1),
        files.row("rock.00001.wav", "rock", 2),
    ]
    rows[2]["tempo"] = value
    files.rows(tmp_path / "features_30_sec.csv", rows)
    catalog = open_catalog(tmp_path, need=["features"])
    assert ids(catalog) == ("blues.00000", "rock.00000")
    assert f"tempo ({shown})" in fault(catalog, "bad-row").detail


def test_a_short_row_is_a_bad_row(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["rows"])
    path = root / "features_30_sec.csv"
    lines = path.read_text().splitlines()
    lines[2] = ",".join(lines[2].split(",")[:30])
    path.write_text("\n".join(lines))
    assert fault(open_catalog(root), "bad-row").tracks == ("blues.00001",)


def test_where_folder_and_table_disagree_the_folder_counts(gtzan_like: Build) -> None:
    root = gtzan_like()
    path = root / "features_30_sec.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(",blues", ",rock")
    lines[2] = lines[2].replace(",blues", ",bluez")
    path.write_text("\n".join(lines))
    catalog = open_catalog(root)
    assert catalog.by_id["blues.00000"].label == catalog.by_id["blues.00001"].label == "blues"
    assert fault(catalog, "label-disagreement").tracks == ("blues.00000",)
    assert fault(catalog, "unknown-label").tracks == ("blues.00001",)
    assert catalog.labels == ("blues", "rock")


def test_audio_outside_of_a_genre_folder_has_no_label_and_is_left_out(tmp_path: Path, files: SimpleNamespace) -> None:
    files.sound(tmp_path / "rock" / "a.wav")
    files.sound(tmp_path / "stray.wav", 300)
    catalog = open_catalog(tmp_path)
    assert fault(catalog, "unknown-label").left_out == ("stray",)
    assert ids(catalog) == ("rock/a",)


def test_labels_of_a_checkpoint_leave_other_genres_out(gtzan_like: Build) -> None:
    catalog = open_catalog(gtzan_like(), labels=("rock", "jazz"))
    assert catalog.labels == ("rock",)
    assert fault(catalog, "unknown-label").left_out == ALL[:3]


def test_exact_copies_are_one_group_whatever_they_are_copies_of(gtzan_like: Build) -> None:
    root = gtzan_like(parts=("figures", "audio"))
    figures, audio = root / "images_original", root / "genres_original"
    (figures / "blues/blues00001.png").write_bytes((figures / "blues/blues00000.png").read_bytes())
    (audio / "blues/blues.00002.wav").write_bytes((audio / "blues/blues.00001.wav").read_bytes())
    catalog = open_catalog(root)
    assert catalog.duplicate_groups == (ALL[:3],)
    assert fault(catalog, "duplicate").tracks == ("blues.00000 = blues.00001 = blues.00002",)
    assert ids(catalog) == ALL


def test_a_copy_under_another_label_is_reported_as_conflicting(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["rows"])
    path = root / "features_30_sec.csv"
    lines = path.read_text().splitlines()
    lines[4] = lines[1].replace("blues.00000.wav", "rock.00000.wav").replace(",blues", ",rock")
    path.write_text("\n".join(lines))
    catalog = open_catalog(root)
    assert catalog.duplicate_groups == (("blues.00000", "rock.00000"),)
    assert fault(catalog, "conflicting-duplicate").tracks == ("blues.00000 (blues) = rock.00000 (rock)",)
    assert "duplicate" not in {fault.kind for fault in catalog.faults}


def test_two_files_and_two_rows_for_one_track_are_reported_and_the_first_kept(
    gtzan_like: Build, files: SimpleNamespace
) -> None:
    root = gtzan_like()
    files.sound(root / "genres_original/blues/blues.00000.au")
    path = root / "features_30_sec.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1])
    catalog = open_catalog(root)
    assert fault(catalog, "duplicate-id").tracks == ("blues.00000", "rock.00002")
    assert str(catalog.by_id["blues.00000"].audio).endswith(".au")
    assert len(catalog) == 6


def test_litter_of_systems_is_passed_over_and_other_files_are_listed(gtzan_like: Build) -> None:
    root = gtzan_like()
    folder = root / "genres_original" / "blues"
    for name in ("Thumbs.db", ".DS_Store", "._blues.00000.wav", "desktop.ini"):
        (folder / name).write_bytes(b"x")
    assert open_catalog(root).faults == ()
    (folder / "notes.txt").write_text("x")
    (root / "genres_original" / "polka").mkdir()
    catalog = open_catalog(root)
    assert fault(catalog, "ignored-file").tracks == ("blues/notes.txt",)
    assert fault(catalog, "empty-genre").tracks == ("polka",)
    assert catalog.labels == ("blues", "rock")


def test_cover_pictures_among_music_are_not_figures(tmp_path: Path, files: SimpleNamespace) -> None:
    files.sound(tmp_path / "rock" / "a.wav")
    files.figure(tmp_path / "rock" / "a.png")
    catalog = open_catalog(tmp_path)
    assert catalog.tracks[0].figure is None
    assert fault(catalog, "ignored-file").tracks == ("rock/a.png",)


def test_folders_that_are_linked_in_a_ring_are_walked_once(tmp_path: Path, files: SimpleNamespace) -> None:
    files.sound(tmp_path / "elsewhere" / "a.wav")
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "rock").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(root, target_is_directory=True)
    assert ids(open_catalog(root)) == ("rock/a",)


def test_a_name_that_is_not_utf8_is_listed_and_passed_over(tmp_path: Path, files: SimpleNamespace) -> None:
    files.sound(tmp_path / "rock" / "a.wav")
    (Path(tmp_path / "rock") / "caf\udce9.wav").write_bytes(b"x")
    catalog = open_catalog(tmp_path)
    assert fault(catalog, "unreadable-name").tracks == ("rock/caf\\xe9.wav",)
    assert ids(catalog) == ("rock/a",)


def test_sources_leave_audio_or_figures_and_rows_aside(gtzan_like: Build) -> None:
    root = gtzan_like()
    assert {track.audio for track in open_catalog(root, sources="figures").tracks} == {None}
    tracks = open_catalog(root, sources="audio").tracks
    assert all(track.audio and track.figure is None and track.features is None for track in tracks)


def test_without_verification_no_file_is_opened(gtzan_like: Build) -> None:
    root = gtzan_like()
    (root / "genres_original/rock/rock.00002.wav").write_bytes(b"x")
    catalog = open_catalog(root, verify=False)
    assert catalog.faults == ()
    assert len(set(catalog.digests.values())) == 6


def test_the_fingerprint_follows_content_and_not_place(gtzan_like: Build, files: SimpleNamespace) -> None:
    here, there = gtzan_like("here"), gtzan_like("there")
    assert open_catalog(here).fingerprint() == open_catalog(there).fingerprint()
    files.sound(there / "genres_original/rock/rock.00002.wav", 999)
    assert open_catalog(here).fingerprint() != open_catalog(there).fingerprint()


def test_a_uri_gives_the_same_tracks_as_the_folder_that_it_names(gtzan_like: Build) -> None:
    root = gtzan_like("my music/50% more")
    near, far = open_catalog(root), open_catalog(root.as_uri(), verify=True)
    assert ids(near) == ids(far)
    assert near.fingerprint() == far.fingerprint()
    assert str(far.tracks[0].audio).startswith("file:///")
    assert "%20" in str(far.tracks[0].audio)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.mkdir(), "an empty folder"),
        (lambda root: root.write_text("x"), "not a folder"),
        (lambda root: (root.mkdir(), (root / "archive.zip").write_bytes(b"x")), r"unpack archive\.zip first"),
        (
            lambda root: (root.mkdir(), (root / "features_30_sec.csv").write_text("name,label\na,b")),
            "no column filename",
        ),
    ],
)
def test_a_root_that_is_no_corpus_is_refused_with_a_remedy(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    prepare(tmp_path / "root")
    with pytest.raises(CatalogError, match=message):
        open_catalog(tmp_path / "root")


def test_a_uri_that_nothing_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no such folder"):
        open_catalog((tmp_path / "nowhere").as_uri())
    with pytest.raises(CatalogError, match="cannot be listed"):
        open_catalog("nonsense://bucket/prefix")


def test_a_corpus_whose_every_track_is_damaged_is_refused_with_the_faults(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["audio"])
    for path in root.rglob("*.wav"):
        path.write_bytes(b"x")
    with pytest.raises(CatalogError, match="6 × unreadable-audio"):
        open_catalog(root)


def test_a_corpus_that_has_not_what_is_needed_is_refused_and_says_what_is_missing(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["figures"])
    (root / "features_3_sec.csv").write_text("filename,length\nblues.00000.0.wav,66149\n")
    with pytest.raises(CatalogError, match=r"6 × missing-row.*feature row or audio") as caught:
        open_catalog(root, need=["features"])
    assert "pieces of 3 s" in str(caught.value)


def test_credentials_in_a_uri_are_not_shown() -> None:
    catalog = Catalog((), (), (), "s3://key:secret@bucket/music", "folders")
    assert "secret" not in catalog.summary() + str(catalog.to_json())


def test_later_faults_join_those_of_their_kind(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["audio"])
    (root / "genres_original/rock/rock.00002.wav").write_bytes(b"x")
    late = Fault("unreadable-audio", ("rock.00001",), "decoding fails after 2 s", "left out", ("rock.00001",))
    catalog = open_catalog(root).with_faults([late, Fault("silent", ("blues.00000",), "no signal", "left out")])
    assert fault(catalog, "unreadable-audio").tracks == ("rock.00002", "rock.00001")
    assert fault(catalog, "silent").tracks == ("blues.00000",)
    assert catalog.to_json()["faults"][0]["left_out"] == ["rock.00002", "rock.00001"]


def test_without_takes_tracks_labels_and_copies_away(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["figures"])
    figures = root / "images_original" / "blues"
    (figures / "blues00001.png").write_bytes((figures / "blues00000.png").read_bytes())
    catalog = open_catalog(root).without(["blues.00000"])
    assert catalog.duplicate_groups == ()
    assert "blues.00000" not in catalog.digests
    assert catalog.without(["blues.00001", "blues.00002"]).labels == ("rock",)


def test_the_summary_counts_genres_and_what_tracks_have(gtzan_like: Build) -> None:
    text = open_catalog(gtzan_like()).summary()
    assert "6 tracks, 2 genres" in text
    assert "blues 3, rock 3" in text
    assert "6 with audio, 6 with a figure, 6 with a feature row" in text


def test_a_corpus_in_the_layout_of_gtzan_with_other_audio_is_not_taken_for_gtzan(gtzan_like: Build) -> None:
    catalog = open_catalog(gtzan_like(genres=GENRES, tracks=2, parts=["audio"]))
    assert catalog.kind == "folders"
    assert {track.artist for track in catalog.tracks} == {None}


def test_the_real_figures_are_999_tracks_with_the_faults_that_are_known(real_catalog: Catalog) -> None:
    catalog = real_catalog
    assert (len(catalog), catalog.labels, catalog.kind) == (999, GENRES, "gtzan")
    assert fault(catalog, "missing-figure").left_out == ("jazz.00054",)
    assert len(fault(catalog, "duplicate").tracks) == 13
    assert fault(catalog, "conflicting-duplicate").tracks == ("metal.00058 (metal) = rock.00016 (rock)",)
    assert sum(track.artist is not None for track in catalog.tracks) == 919
    assert all(
        track.features is not None and track.features.shape == (len(FEATURE_COLUMNS),) for track in catalog.tracks
    )


def test_copies_that_are_found_by_their_rows_are_the_listed_ones(real_gtzan: Path) -> None:
    rows = {track.features.tobytes(): track.id for track in open_catalog(real_gtzan, verify=False).tracks}
    catalog = open_catalog(real_gtzan, verify=False)
    pairs = {(rows[track.features.tobytes()], track.id) for track in catalog.tracks} - {
        (t.id, t.id) for t in catalog.tracks
    }
    assert {tuple(sorted(pair)) for pair in pairs} == {tuple(sorted(pair)) for pair in duplicates()}


def named(files: SimpleNamespace, *pairs: tuple[str, str], **columns: str) -> list[dict[str, object]]:
    """A feature row for each file name and label, all different, with more columns on request."""
    return [files.row(name, label, seed) | columns for seed, (name, label) in enumerate(pairs)]


def labels_of(catalog: Catalog) -> dict[str, str | None]:
    return {track.id: track.label for track in catalog.tracks}


def test_the_tables_label_counts_where_names_hold_no_genre(tmp_path: Path, files: SimpleNamespace) -> None:
    rows = named(files, ("fma_00042.wav", "Rock"), ("fma_00043.wav", "Jazz"), ("fma_00044.wav", "Jazz"))
    files.rows(tmp_path / "a" / "features_30_sec.csv", rows)
    catalog = open_catalog(tmp_path / "a")
    assert labels_of(catalog) == {"fma.00042": "Rock", "fma.00043": "Jazz", "fma.00044": "Jazz"}
    assert catalog.faults == ()
    rows = named(files, ("A00000.mp3", "Rock"), ("B00001.mp3", "Jazz"), ("B00002.mp3", ""))
    files.rows(tmp_path / "b" / "features_30_sec.csv", rows)
    catalog = open_catalog(tmp_path / "b")
    assert labels_of(catalog) == {"A.00000": "Rock", "B.00001": "Jazz"}
    assert fault(catalog, "unknown-label").left_out == ("B.00002",)


def test_names_count_where_most_of_them_agree_with_the_table_or_it_has_no_labels(
    tmp_path: Path, files: SimpleNamespace
) -> None:
    rows = named(files, ("blues.00000.wav", "rock"), ("rock.00000.wav", "rock"), ("rock.00001.wav", "rock"))
    files.rows(tmp_path / "a" / "features_30_sec.csv", rows)
    catalog = open_catalog(tmp_path / "a")
    assert labels_of(catalog) == {"blues.00000": "blues", "rock.00000": "rock", "rock.00001": "rock"}
    assert fault(catalog, "label-disagreement").tracks == ("blues.00000",)
    files.rows(
        tmp_path / "b" / "features_30_sec.csv",
        named(files, ("blues.00000.wav", "NaN"), ("rock.00000.wav", "nan"), ("rock.00001.wav", "")),
    )
    assert labels_of(open_catalog(tmp_path / "b")) == labels_of(catalog)


def test_only_suffixes_of_audio_and_figures_are_taken_off_a_name(tmp_path: Path, files: SimpleNamespace) -> None:
    names = ("blues.00000", "blues.00001", "song.17", "song.18", "Song No. 1", "Song No. 2", "x.WAV", "y.Png")
    files.rows(tmp_path / "features_30_sec.csv", named(files, *((name, "a") for name in names)))
    catalog = open_catalog(tmp_path)
    assert set(ids(catalog)) == {*names[:6], "x", "y"}
    assert catalog.faults == ()


@pytest.mark.parametrize("name", ["features_30_sec.csv", "music.csv", "manifest.csv", "music.parquet"])
def test_a_feature_table_by_itself_is_read_as_in_a_folder(tmp_path: Path, files: SimpleNamespace, name: str) -> None:
    rows = named(files, ("a.wav", "x"), ("b.wav", "y"), artist="Ana", split="train")
    if name.endswith(".csv"):
        files.rows(tmp_path / name, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    catalog = open_catalog(tmp_path / name)
    assert labels_of(catalog) == {"a": "x", "b": "y"}
    assert catalog.kind == "manifest"
    assert {(track.artist, track.split) for track in catalog.tracks} == {("Ana", "train")}
    assert all(track.features is not None for track in catalog.tracks)
    assert catalog.faults == ()
    if not name.startswith("music"):
        assert open_catalog(tmp_path).fingerprint() == catalog.fingerprint()
    assert [track.id for track in tracks_of(tmp_path / name)] == ["a", "b"]


def test_the_real_feature_table_by_itself_is_gtzan(real_gtzan: Path) -> None:
    catalog = open_catalog(real_gtzan / "features_30_sec.csv")
    assert (len(catalog), catalog.kind, catalog.labels) == (1000, "gtzan", GENRES)
    assert sum(track.artist is not None for track in catalog.tracks) == 919


@pytest.mark.parametrize("whole", [True, False])
def test_the_table_of_pieces_is_refused_by_name(tmp_path: Path, files: SimpleNamespace, whole: bool) -> None:
    files.rows(tmp_path / "features_3_sec.csv", named(files, ("blues.00000.0.wav", "blues")))
    with pytest.raises(CatalogError, match=r"pieces of 3 s, not tracks.*features_30_sec\.csv"):
        open_catalog(tmp_path if whole else tmp_path / "features_3_sec.csv")


def test_a_row_without_a_name_is_a_bad_row_with_its_line(tmp_path: Path, files: SimpleNamespace) -> None:
    rows = named(files, ("a.wav", "x"), ("  ", "y"), ("b.wav", "y"), ("c.wav", "x"))
    rows = [
        {"label": row["label"]} | {k: v for k, v in row.items() if k != "filename"} | {"filename": row["filename"]}
        for row in rows
    ]
    path = files.rows(tmp_path / "features_30_sec.csv", rows)
    lines = path.read_text().splitlines()
    lines[4] = ",".join(lines[4].split(",")[:30])
    path.write_text("\n".join([*lines[:2], "", *lines[2:]]))
    catalog = open_catalog(tmp_path)
    assert ids(catalog) == ("a", "b")
    assert fault(catalog, "bad-row").tracks == ("line 4", "line 6")
    assert "2 left out" in fault(catalog, "bad-row").action


def test_rows_of_another_corpus_under_gtzans_ids_are_not_gtzan(
    real_gtzan: Path, tmp_path: Path, gtzan_like: Build
) -> None:
    catalog = open_catalog(gtzan_like(genres=GENRES, tracks=3, parts=["rows"]))
    assert (catalog.kind, {track.artist for track in catalog.tracks}) == ("folders", {None})
    assert open_catalog(gtzan_like("figures", genres=GENRES, parts=["figures"])).kind == "gtzan"
    lines = (real_gtzan / "features_30_sec.csv").read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([lines[0], *lines[1::50]]))
    assert open_catalog(tmp_path / "some.csv").kind == "gtzan"


def test_a_link_to_a_folder_that_is_read_already_is_reported_and_hides_nothing(
    tmp_path: Path, files: SimpleNamespace
) -> None:
    root = tmp_path / "corpus"
    files.sound(root / "rock" / "a.wav")
    files.sound(root / "pop" / "b.wav", 300)
    files.sound(tmp_path / "store" / "c.wav", 400)
    (root / "best").symlink_to(root / "rock", target_is_directory=True)
    (root / "metal").symlink_to(tmp_path / "store", target_is_directory=True)
    (root / "thrash").symlink_to(tmp_path / "store", target_is_directory=True)
    catalog = open_catalog(root)
    assert labels_of(catalog) == {"rock/a": "rock", "pop/b": "pop", "metal/c": "metal"}
    found = fault(catalog, "ignored-link")
    assert found.tracks == ("best", "thrash")
    assert "best: leads to rock; thrash: leads to metal" in found.detail


def test_folders_that_cannot_be_listed_or_named_are_faults(
    tmp_path: Path, files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.sound(tmp_path / "rock" / "a.wav")
    files.sound(tmp_path / "rock" / "private" / "b.wav", 300)
    (tmp_path / "dir\udcff").mkdir()
    listed = os.scandir

    def scandir(place: object) -> object:
        if str(place).endswith("private"):
            raise PermissionError(13, "Permission denied")
        return listed(place)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scandir)
    catalog = open_catalog(tmp_path)
    assert ids(catalog) == ("rock/a",)
    assert fault(catalog, "unreadable-name").tracks == ("dir\\xff/",)
    assert fault(catalog, "unreadable-folder").tracks == ("rock/private",)
    assert "Permission denied" in fault(catalog, "unreadable-folder").detail


def test_music_beside_gtzans_folders_is_reported(gtzan_like: Build, files: SimpleNamespace) -> None:
    root = gtzan_like("corpus/Data", parts=["figures", "rows"])
    for number, place in enumerate(("Data/rock/a.wav", "Data/rock/b/c.wav", "tango/d.mp3", "Data/e.wav")):
        files.sound((root.parent / place).with_suffix(".wav"), 500 + number)
    (root / "meta").mkdir()
    (root / "meta" / "notes.txt").write_text("x")
    catalog = open_catalog(root.parent)
    assert ids(catalog) == ALL
    ignored = fault(catalog, "ignored-folder")
    assert ignored.tracks == ("Data/rock", "tango")
    assert "Data/rock: 2 files of audio or figures" in ignored.detail
    assert fault(catalog, "ignored-file").tracks == ("Data/e.wav",)


def test_a_figure_in_the_folder_of_another_genre_is_reported(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["figures", "rows"])
    (root / "images_original/blues/blues00001.png").rename(root / "images_original/rock/blues00001.png")
    found = fault(open_catalog(root), "label-disagreement")
    assert found.tracks == ("rock/blues00001",)
    assert "'rock' by folder, 'blues' by name" in found.detail
    assert found.action == "kept as a track of its own, as its folder says"


def test_every_further_row_is_counted_and_another_label_in_it_reported(gtzan_like: Build) -> None:
    root = gtzan_like(parts=["rows"])
    path = root / "features_30_sec.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], lines[1], lines[1].replace(",blues", ",rock")]))
    catalog = open_catalog(root)
    twice = fault(catalog, "duplicate-id")
    assert (twice.tracks, twice.count) == (("blues.00000",), 3)
    assert "3 × duplicate-id" in catalog.fault_report()
    other = fault(catalog, "label-disagreement")
    assert other.tracks == ("blues.00000",)
    assert "'rock' in line 10, 'blues' in the first" in other.detail


def test_each_action_is_told_with_the_tracks_that_it_befell(gtzan_like: Build) -> None:
    log = FaultLog()
    log.add("missing-audio", "line 3", action="left out")
    log.add("missing-audio", "a")
    log.add("missing-audio", "b")
    (found,) = log.faults(["a"])
    assert found.action == "2 left out, 1 kept, with what else they have"
    assert found.left_out == ("a",)


def test_an_empty_file_is_called_empty_and_not_shown_to_a_decoder(
    gtzan_like: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = gtzan_like(parts=["audio"])
    (root / "genres_original/rock/rock.00002.wav").unlink()
    (root / "genres_original/rock/rock.00002.mp3").write_bytes(b"")
    monkeypatch.setattr(verification, "_duration_by_ffmpeg", lambda stream: pytest.fail("shown to FFmpeg"))
    assert "rock.00002: an empty file" in fault(open_catalog(root), "unreadable-audio").detail


def test_a_cell_without_a_label_is_an_unknown_label(gtzan_like: Build) -> None:
    root = gtzan_like()
    path = root / "features_30_sec.csv"
    path.write_text(path.read_text().replace(",blues", ",", 1))
    files = {"stray.wav": root / "genres_original" / "stray.wav"}
    files["stray.wav"].write_bytes((root / "genres_original/rock/rock.00000.wav").read_bytes())
    assert fault(open_catalog(root), "unknown-label").tracks == ("blues.00000", "stray")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,label,,\na.wav,x,y,,\n")
    with pytest.raises(CatalogError, match="two columns are called label"):
        open_catalog(tmp_path)
