from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genre_ray.data.catalog import open_catalog
from genre_ray.errors import CatalogError


@pytest.fixture
def corpus(tmp_path: Path, files: SimpleNamespace) -> Path:
    files.sound(tmp_path / "one.wav", 300)
    files.sound(tmp_path / "deep" / "two.wav", 400)
    files.sound(tmp_path / "elsewhere" / "three.wav", 500)
    (tmp_path / "manifest.csv").write_text(
        "path,label,artist,split\n"
        "one.wav,tango,Ana,train\n"
        "deep/two.wav,fado,,test\n"
        f"{tmp_path}/elsewhere/three.wav,tango,Berta,\n"
    )
    return tmp_path


def test_a_folder_with_a_manifest_is_read_through_it(corpus: Path) -> None:
    catalog = open_catalog(corpus)
    assert catalog.kind == "manifest"
    assert catalog.labels == ("fado", "tango")
    assert {track.id.split("/")[-1]: (track.artist, track.split) for track in catalog.tracks} == {
        "one": ("Ana", "train"),
        "two": (None, "test"),
        "three": ("Berta", None),
    }
    assert catalog.faults == ()


def test_the_manifest_itself_can_be_named(corpus: Path) -> None:
    assert open_catalog(corpus / "manifest.csv").fingerprint() == open_catalog(corpus).fingerprint()


def test_a_manifest_at_a_uri_finds_its_files_beside_it(corpus: Path) -> None:
    far = open_catalog((corpus / "manifest.csv").as_uri(), verify=True)
    assert far.fingerprint() == open_catalog(corpus).fingerprint()
    assert str(far.by_id["one"].audio).startswith("file://")


def test_parquet_is_read_as_csv_is(corpus: Path) -> None:
    lines = [line.split(",") for line in (corpus / "manifest.csv").read_text().splitlines()]
    columns = {name: [line[place] or None for line in lines[1:]] for place, name in enumerate(lines[0])}
    pq.write_table(pa.table(columns), corpus / "other.parquet")
    assert open_catalog(corpus / "other.parquet").fingerprint() == open_catalog(corpus).fingerprint()


def test_figures_and_features_come_from_the_manifest_too(tmp_path: Path, files: SimpleNamespace) -> None:
    files.figure(tmp_path / "a.png", 1)
    files.figure(tmp_path / "b.png", 2)
    features = {key: value for key, value in files.row("", "").items() if key.endswith(("_mean", "_var", "tempo"))}
    rows = [
        {"path": "a.png", "figure": "", "id": "first", "label": "x"} | features,
        {"path": "", "figure": "b.png", "id": "", "label": "y"} | features | {"tempo": 99.0},
    ]
    files.rows(tmp_path / "manifest.csv", rows)
    catalog = open_catalog(tmp_path, need=["spectrogram", "features"])
    assert [track.id for track in catalog.tracks] == ["b", "first"]
    assert str(catalog.by_id["first"].figure).endswith("a.png")
    assert catalog.by_id["b"].features[16] == 99.0
    assert catalog.faults == ()


def test_faults_of_rows_are_listed_and_the_other_rows_kept(corpus: Path) -> None:
    path = corpus / "manifest.csv"
    path.write_text(path.read_text() + "gone.wav,tango,,\none.wav,fado,,\n,,,\nelsewhere/three.wav,,,\n , tango , , \n")
    catalog = open_catalog(corpus)
    found = {fault.kind: fault for fault in catalog.faults}
    assert found["missing-audio"].tracks == ("line 9", "gone")
    assert found["duplicate-id"].tracks == ("one",)
    assert "a second row in line 6" in found["duplicate-id"].detail
    assert "'fado' in line 6, 'tango' in the first" in found["label-disagreement"].detail
    assert found["unknown-label"].left_out == ("elsewhere/three",)
    assert catalog.by_id["one"].label == "tango"
    assert len(catalog) == 3


def test_a_byte_order_mark_and_spaces_in_the_header_do_no_harm(corpus: Path) -> None:
    path = corpus / "manifest.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"path,label", b"path , label"))
    assert len(open_catalog(corpus)) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"path;label\na.wav;x\n", "no column path, label.*separated by commas"),
        (b"path,label\n", "no rows"),
        (b"path,label,tempo\na.wav,x,1\n", "no column chroma_stft_mean"),
        (b"path,label\ncaf\xe9.wav,x\n", "not UTF-8"),
        (b"\x00\x01\x02", "not a text file"),
        (b'path,label\n"a.wav,x\n', "not valid CSV"),
        (b"path,label\nnowhere.wav,x\n", "no usable track.*1 × missing-audio"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(CatalogError, match=message):
        open_catalog(tmp_path)


def test_a_manifest_that_is_not_there_or_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        open_catalog(tmp_path / "absent.csv")
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(CatalogError, match="not a Parquet file"):
        open_catalog(tmp_path / "a.parquet")


def test_files_numbered_alike_in_two_folders_are_two_tracks(tmp_path: Path, files: SimpleNamespace) -> None:
    for place, folder in enumerate(("one", "two")):
        files.sound(tmp_path / folder / "blues" / "blues.00000.wav", 300 + place)
    (tmp_path / "manifest.csv").write_text(
        "path,label\none/blues/blues.00000.wav,blues\ntwo/blues/blues.00000.wav,blues\n"
    )
    assert [track.id for track in open_catalog(tmp_path).tracks] == ["blues.00000", "two/blues/blues.00000"]


def test_ids_and_features_alone_are_a_manifest(tmp_path: Path, files: SimpleNamespace) -> None:
    values = {key: value for key, value in files.row("", "").items() if key.endswith(("_mean", "_var", "tempo"))}
    rows = [{"id": name, "label": "xy"[seed]} | values | {"tempo": 90.0 + seed} for seed, name in enumerate("ab")]
    catalog = open_catalog(files.rows(tmp_path / "manifest.csv", rows))
    assert [(track.id, track.label) for track in catalog.tracks] == [("a", "x"), ("b", "y")]
    assert catalog.faults == ()


def test_a_label_of_nan_is_none(corpus: Path) -> None:
    path = corpus / "manifest.csv"
    path.write_text(path.read_text().replace("fado,,test", "nan,NaN,test"))
    catalog = open_catalog(corpus)
    assert catalog.labels == ("tango",)
    assert next(fault for fault in catalog.faults if fault.kind == "unknown-label").left_out == ("deep/two",)


def test_lines_are_counted_as_an_editor_does(corpus: Path) -> None:
    path = corpus / "manifest.csv"
    path.write_text(path.read_text() + '\n,,,\n"gone\n.wav",tango,,\none.wav,fado,,\n')
    found = {fault.kind: fault for fault in open_catalog(corpus).faults}
    assert "a second row in line 9" in found["duplicate-id"].detail


def test_every_further_row_of_a_track_is_counted(corpus: Path) -> None:
    path = corpus / "manifest.csv"
    path.write_text(path.read_text() + "one.wav,tango,,\none.wav,tango,,\none.wav,fado,,\none.wav,waltz,,\n")
    found = {fault.kind: fault for fault in open_catalog(corpus).faults}
    assert (found["duplicate-id"].tracks, found["duplicate-id"].count) == (("one",), 4)
    assert (found["label-disagreement"].tracks, found["label-disagreement"].count) == (("one",), 2)
    assert "'fado' in line 7, 'tango' in the first" in found["label-disagreement"].detail
