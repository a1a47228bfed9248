"""The console command: help that teaches, errors that name their remedy, answers in the formats asked for."""

import argparse
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from genre_ray import checkpoint
from genre_ray.cli import command, evaluate, predict, validate
from genre_ray.cli.command import explain, main
from genre_ray.clips import ClipTable
from genre_ray.config import FeatureConfig, InputConfig, MlpConfig, RunConfig, TrainingConfig
from genre_ray.errors import ConfigError, RunError
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.training import fit

SUBCOMMANDS = ("data", "evaluate", "predict", "features", "serve", "promote", "validate", "doctor")
GENRES = ("dub", "samba")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    time_s = np.arange(3 * 22050) / 22050
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * (220 + 80 * time_s) * time_s), 22050)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a features-only model."""
    generator = np.random.default_rng(0)
    table = ClipTable(
        track=np.array([f"t{i}" for i in range(20)]),
        label=np.array(GENRES)[np.arange(20) % 2],
        index=np.zeros(20, np.int32),
        start_s=np.zeros(20),
        features=generator.normal(size=(20, 57)),
    )
    config = RunConfig(
        inputs=InputConfig(spectrogram=None, features=FeatureConfig()),
        model=MlpConfig(width=8, layers=2),
        training=TrainingConfig(epochs=1, batch_size=8),
    )
    place = tmp_path_factory.mktemp("trained") / "best"
    checkpoint.save(place, [fit(config, table, labels=GENRES, threads=1, device="cpu")], metrics={}, data={})
    return place


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 tracks with a feature row each; one of them lacks a value."""
    root = tmp_path_factory.mktemp("corpus")
    lines = [",".join(["filename", "length", *FEATURE_COLUMNS, "label"])]
    generator = np.random.default_rng(1)
    for genre in GENRES:
        for n in range(6):
            row = [f"{value:.4f}" for value in generator.normal(size=57)]
            row[3] = "" if (genre, n) == ("dub", 5) else row[3]
            lines.append(",".join([f"{genre}.{n:05d}.wav", "661794", *row, genre]))
    (root / "features_30_sec.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_help_waits_for_nothing_heavy() -> None:
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "genre_ray", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.split("|")[2].strip() for line in found.stderr.splitlines() if line.startswith("import time:")}
    assert "genre_ray.cli.command" in imported
    assert not imported & {"ray", "torch", "numpy", "pandas", "sklearn", "librosa", "pydantic"}
    assert "genre-ray predict song.mp3" in found.stdout


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_teaches_with_examples_that_its_parser_takes(name: str) -> None:
    module: Any = next(module for module in command._MODULES if name == module.NAME)
    examples = [line.strip() for line in module.EXAMPLES.splitlines() if "genre-ray " in line]
    assert examples
    for line in examples:
        arguments = line.split("   ")[0].split("genre-ray ", 1)[1].split()
        assert command.parser().parse_args(arguments).command == name


def test_the_top_help_lists_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys)
    assert status == 2
    assert all(f"\n    {name} " in out for name in (*SUBCOMMANDS, "tune"))


def test_tune_has_its_own_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["tune", "--help"])
    assert "--time-budget" in capsys.readouterr().out


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    status, out, _ = call(capsys, "--version")
    assert (status, out) == (0, f"genre_ray {version('genre_ray')}\n")


def test_an_error_is_a_message_with_its_remedy_and_no_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, err = call(capsys, "data", tmp_path / "nowhere")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere"):
        main(["data", str(tmp_path / "nowhere"), "--debug"])


def test_found_expected_and_remedy_stand_in_lines_of_their_own() -> None:
    error = RunError("it failed", found="this", expected="that", remedy="do so")
    assert explain(error) == "error: it failed\n  found:    this\n  expected: that\n  remedy:   do so"
    assert explain(RunError("it failed")) == "error: it failed"


def test_ctrl_c_ends_with_the_shells_status(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    assert command._run(argparse.Namespace(run=interrupted, debug=False)) == 130
    assert "stopped" in capsys.readouterr().err


def test_data_shows_tracks_faults_and_leaks(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    status, out, _ = call(capsys, "data", corpus, "--json", tmp_path / "catalog.json", "--folds", 3)
    assert status == 0
    assert "11 tracks, 2 genres" in out
    assert "bad-row" in out
    assert "dub.00005" in out
    assert "filtered             not for this corpus" in out
    facts = json.loads((tmp_path / "catalog.json").read_text(encoding="utf-8"))
    assert facts["labels"] == {"dub": 5, "samba": 6}
    assert any(split["name"] == "random-cv[1/3]" for split in facts["splits"])


def test_data_shows_each_fold_of_a_protocol(capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    _, out, _ = call(capsys, "data", corpus, "--protocol", "random-cv", "--folds", 3)
    assert [f"random-cv[{i}/3]" in out for i in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", 1), "folds.*greater than or equal to 2"),
        (("--shown", -1), "--shown -1"),
        (("--json", "nowhere/x.json"), "nowhere/x.json cannot be written"),
    ],
)
def test_data_refuses_an_option_before_it_looks_at_anything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    status, out, err = call(capsys, "data", tmp_path / "absent", *arguments)
    assert (status, out) == (2, "")
    assert re.search(message, err)


def test_data_tells_what_leaks_and_what_lists_leave_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parts = ("train", "train", "train", "test", "")
    lines = ["id,label,artist,split," + ",".join(FEATURE_COLUMNS)]
    for seed in range(10):
        row = [f"{label}{seed}" if (label := "ab"[seed % 2]) else "", label, "Ana", parts[seed // 2]]
        lines.append(",".join([*row, *(f"{seed}.{place}" for place in range(57))]))
    (tmp_path / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    status, out, _ = call(capsys, "data", tmp_path, "--protocol", "custom", "--json", tmp_path / "all.json")
    assert status == 0
    assert "2 × artist-crosses-split" in out
    assert "custom: 2 tracks are in no part (a8, b9)" in out
    facts = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert facts["splits"][0]["unused"] == ["a8", "b9"]
    assert [fault["kind"] for fault in facts["faults"]] == ["artist-crosses-split"]


def test_data_composes_a_corpus_and_shows_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, "data", "--compose", tmp_path / "c", "--tracks-per-genre", 1, "--duration", 1)
    assert status == 0
    assert "10 tracks, 10 genres" in out


@pytest.mark.parametrize("arguments", [("data",), ("data", "x", "--compose", "y")])
def test_data_wants_a_corpus_or_a_place_to_compose_one(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    status, _, err = call(capsys, *arguments)
    assert status == 2
    assert "--compose DIR" in err


def test_features_have_gtzans_columns_and_the_numbers_of_the_library(
    capsys: pytest.CaptureFixture[str], sound: Path
) -> None:
    from genre_ray.preprocessing import extract
    from genre_ray.schema import Track

    status, out, _ = call(capsys, "features", sound)
    head, row = (line.split(",") for line in out.splitlines())
    assert status == 0
    assert tuple(head) == ("filename", "start_s", *FEATURE_COLUMNS)
    inputs = InputConfig(spectrogram=None, features=FeatureConfig())
    expected = next(iter(extract(Track(id="t", audio=sound), inputs))).features
    assert expected is not None
    assert [float(value) for value in row[2:]] == expected.tolist()


def test_a_file_that_cannot_be_read_is_passed_over_and_tells_in_the_status(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"no music in here" * 100)
    target = tmp_path / "features.jsonl"
    status, _, err = call(capsys, "features", bad, sound, "--format", "jsonl", "--output", target)
    assert status == 1
    assert "bad.mp3" in err
    assert "1 of 2 files passed over" in err
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["filename"] for row in rows] == [str(sound)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mp3", "features.jsonl"]


def test_an_option_out_of_range_names_field_and_value(capsys: pytest.CaptureFixture[str], sound: Path) -> None:
    status, _, err = call(capsys, "features", sound, "--clip", "0.1")
    assert status == 2
    assert "duration_s" in err
    assert "0.1" in err


def test_predict_writes_a_table_csv_and_json_of_the_same_probabilities(
    capsys: pytest.CaptureFixture[str], sound: Path, trained: Path
) -> None:
    _, table, _ = call(capsys, "predict", sound, "--checkpoint", trained)
    _, rows, _ = call(capsys, "predict", sound, "--checkpoint", trained, "--format", "csv")
    _, lines, _ = call(capsys, "predict", sound, "--checkpoint", trained, "--format", "jsonl", "--clips")
    answer = json.loads(lines)
    head, row = (line.split(",") for line in rows.splitlines())
    assert head == ["file", "genre", *GENRES, "unsure", "model"]
    assert row[1] == answer["genre"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert [float(p) for p in row[2:4]] == [answer["probabilities"][genre] for genre in GENRES]
    assert table.startswith(f"{sound}: {answer['genre']}")
    assert answer["model"] == checkpoint.version_of(trained)
    assert answer["clips"][0]["start_s"] == 0


def test_predict_marks_answers_below_the_threshold_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], corpus: Path, trained: Path
) -> None:
    for threshold, unsure in ((0.0, False), (1.0, True)):
        figure = ("dub00002.png", "--features", corpus / "features_30_sec.csv")
        asked = ("predict", *figure, "--checkpoint", trained, "--unsure-below", threshold)
        _, table, _ = call(capsys, *asked)
        _, rows, _ = call(capsys, *asked, "--format", "csv")
        _, lines, _ = call(capsys, *asked, "--format", "jsonl")
        assert table.rstrip().endswith("unsure") == unsure
        assert rows.splitlines()[1].split(",")[-2] == str(unsure)
        assert json.loads(lines)["unsure"] == unsure


def test_predict_without_a_checkpoint_says_how_to_make_one(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path
) -> None:
    status, _, err = call(capsys, "predict", sound, "--checkpoint", tmp_path / "none")
    assert status == 2
    assert "python -m genre_ray.tune" in err


def test_predict_takes_every_track_of_a_folder(sound: Path) -> None:
    assert [track.id for track in predict.tracks_of([str(sound.parent)], None)] == ["tone"]
    assert [track.id for track in predict.tracks_of([str(sound)], None)] == [str(sound)]


def test_a_figure_gets_the_row_of_its_name(corpus: Path) -> None:
    track = predict.tracks_of(["dub00002.png"], None)[0]
    assert (track.figure, track.features) == ("dub00002.png", None)
    rows = corpus / "features_30_sec.csv"
    features = predict.tracks_of(["dub00002.png"], rows)[0].features
    assert features is not None
    assert f"{features[0]:.4f}" == rows.read_text(encoding="utf-8").splitlines()[3].split(",")[2]


def test_rows_of_others_that_are_bad_nameless_or_second_do_no_harm(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "features_30_sec.csv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    cells = [name if name != "filename" else "" for name in names]
    rows = tmp_path / "rows.csv"
    second = lines[4].replace("dub.00003", "dub.00002")
    last = [
        ",".join([*names[1:], "filename"]),
        *(",".join([*line.split(",")[1:], line.split(",")[0]]) for line in lines),
    ]
    rows.write_text("\n".join([*lines, ",".join(cells), second]) + "\n", encoding="utf-8")
    features = predict.tracks_of(["dub00002.png"], rows)[0].features
    assert features is not None
    assert f"{features[0]:.4f}" == lines[3].split(",")[2]
    # A short row lacks its last columns, here the name.
    rows.write_text("\n".join([last[0], "1,2,3", *last[2:]]) + "\n", encoding="utf-8")
    again = predict.tracks_of(["dub00002.png"], rows)[0].features
    np.testing.assert_array_equal(again, features)


def test_a_figure_whose_own_row_is_bad_is_named_and_has_none(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracks = predict.tracks_of(["dub00005.png", "dub00002.png"], corpus / "features_30_sec.csv")
    assert [track.features is None for track in tracks] == [True, False]
    assert "dub00005.png: its feature row is left out: values are not numbers: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--top", "0", "a whole number from 1 on"),
        ("--top", "-1", "a whole number from 1 on"),
        ("--concurrency", "0", "a whole number from 1 on"),
        ("--concurrency", "two", "a whole number from 1 on"),
        ("--unsure-below", "2", "a probability, 0 to 1"),
        ("--unsure-below", "nan", "a probability, 0 to 1"),
        ("--unsure-below", "half", "a probability, 0 to 1"),
    ],
)
def test_predict_refuses_numbers_out_of_range(
    capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", "song.mp3", f"{option}={value}"])
    assert f"argument {option}: '{value}' is not {expected}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "concurrency", "resume"), [([], None, True), (["--concurrency", "8", "--again"], 8, False)]
)
def test_predict_hands_on_how_many_and_whether_anew(
    monkeypatch: pytest.MonkeyPatch, trained: Path, sound: Path, given: list[str], concurrency: int | None, resume: bool
) -> None:
    from genre_ray import connection
    from genre_ray import predict as batch
    from genre_ray.data.tabulation import Tabulated

    asked: dict[str, Any] = {}

    def predicted(*_: object, **options: Any) -> Tabulated:
        asked.update(options)
        return Tabulated(path="p.parquet", tracks=1, failed={}, reused=0, seconds=1.0)

    monkeypatch.setattr(connection, "connect", contextlib.nullcontext)
    monkeypatch.setattr(batch, "predict_catalog", predicted)
    assert main(["predict", str(sound), "--checkpoint", str(trained), "--output", "p.parquet", *given]) == 0
    assert (asked["concurrency"], asked["resume"]) == (concurrency, resume)


def search_file(folder: Path, **changes: object) -> Path:
    path = folder / "search.yaml"
    settings = {"name": "t", "protocol": {"name": "paper"}, "search": {"trials": 2}}
    path.write_text(json.dumps(settings | changes), encoding="utf-8")
    return path


def test_validate_says_ok_and_names_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = search_file(tmp_path)
    assert call(capsys, "validate", good) == (0, f"{good}: ok\n", "")
    bad = search_file(tmp_path, protocl={"name": "paper"})
    status, out, _ = call(capsys, "validate", bad)
    assert status == 1
    assert str(bad) in out
    assert "protocl" in out
    assert "protocol" in out


def test_validate_takes_folders_and_refuses_empty_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call(capsys, "validate", tmp_path / "empty")[0] == 2
    search_file(tmp_path)
    assert "search.yaml: ok" in call(capsys, "validate", tmp_path)[1]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"applications": []}, "service"),
        ({"cluster_name": "x", "provider": {}}, "cluster"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "cluster"),
        ({"name": "x", "protocol": {}}, "search"),
        ({"colour": "red"}, None),
        (["a list"], None),
    ],
)
def test_a_file_is_told_by_its_keys(document: object, kind: str | None) -> None:
    assert validate.kind_of(document) == kind


def test_a_file_of_no_kind_is_a_problem(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("colour: red\n", encoding="utf-8")
    status, out, _ = call(capsys, "validate", path)
    assert status == 1
    assert "neither a search file" in out


def options_of(*arguments: object) -> argparse.Namespace:
    return command.parser().parse_args(["evaluate", "--data", "d", *(str(argument) for argument in arguments)])


def test_the_recipe_of_a_search_file_is_its_first_point_or_its_base(tmp_path: Path) -> None:
    space = {"training.learning_rate": {"loguniform": [1.0e-4, 1.0e-2]}}
    points = [{"training.learning_rate": 2.0e-3}, {"training.learning_rate": 3.0e-3}]
    path = search_file(tmp_path, space=space, points=points)
    first = evaluate.recipe_of(options_of("--config", path)).members[0]
    second = evaluate.recipe_of(options_of("--config", path, "--point", 1)).members[0]
    assert (first.training.learning_rate, second.training.learning_rate) == (2.0e-3, 3.0e-3)
    with pytest.raises(ConfigError, match="no point 2"):
        evaluate.recipe_of(options_of("--config", path, "--point", 2))
    bare = search_file(tmp_path)
    assert evaluate.recipe_of(options_of("--config", bare)).members[0] == RunConfig()


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    variants = {"wide": {"training": {"epochs": 3}}, "deep": {"training": {"epochs": 4}}}
    path = search_file(tmp_path, variants=variants)
    assert evaluate.recipe_of(options_of("--config", path, "--variant", "deep")).members[0].training.epochs == 4
    with pytest.raises(ConfigError, match=r"no variant 'flat'.*wide, deep"):
        evaluate.recipe_of(options_of("--config", path, "--variant", "flat"))


def test_the_recipe_of_a_checkpoint_is_what_it_was_made_from(trained: Path) -> None:
    recipe = evaluate.recipe_of(options_of("--recipe", trained))
    assert recipe.members == tuple(member.config for member in checkpoint.open_checkpoint(trained).members)


def test_evaluate_wants_a_protocol_before_it_starts_anything(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    status, _, err = call(capsys, "evaluate", "--data", "d", "--recipe", trained)
    assert status == 2
    assert "--protocol paper" in err


def test_lists_belong_to_the_custom_protocol() -> None:
    with pytest.raises(ConfigError, match="custom"):
        evaluate.protocol_of(options_of("--config", "x", "--protocol", "paper", "--test-list", "t.txt"))


def test_the_output_folder_is_the_same_for_the_same_command() -> None:
    options = options_of("--recipe", "results/hybrid/best", "--protocol", "artist-cv")
    assert evaluate._folder(options, Path("results/hybrid/best")) == Path("results/evaluate-hybrid-best-artist-cv")


def test_serve_refuses_a_file_with_a_misspelt_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("applications:\n- {name: g, import_pth: genre_ray.serve:app}\n", encoding="utf-8")
    status, _, err = call(capsys, "serve", path)
    assert status == 2
    assert "import_pth" in err


def test_the_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "doctor", "--no-ray", "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert status == 0
    assert {"python", "packages", "memory", "gpu", "codecs", "haproxy", "port", "limits"} <= set(findings)
    assert all(finding["remedy"] for finding in findings.values() if finding["status"] != "ok")


def test_a_check_that_breaks_is_a_failure_and_not_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from genre_ray import doctor

    def codecs() -> None:
        raise OSError("libsndfile is gone")

    monkeypatch.setattr(doctor, "_codecs", codecs)
    status, out, _ = call(capsys, "doctor", "--no-ray")
    assert status == 1
    assert "FAILURE codecs" in out
    assert "libsndfile is gone" in out
    assert "haproxy" in out


def test_a_missing_package_and_an_old_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from genre_ray import doctor

    wanted = ["numpy>=999", "no-such-package-at-all>=1", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    finding = next(doctor._packages())
    assert finding.status == "failure"
    assert "numpy" in finding.found
    assert "no-such-package-at-all is missing" in finding.found
    assert "pytest" not in finding.found


@pytest.mark.parametrize(("given", "mode"), [([], "always"), (["--streaming", "never"], "never")])
def test_the_search_file_says_what_is_streamed_and_the_command_line_goes_before_it(
    tmp_path: Path, given: list[str], mode: str
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("name: s\nprotocol: {name: paper}\nstreaming: {mode: always, buffer_mb: 8}\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    evaluate.add_options(parser)
    options = parser.parse_args(["--data", "x", "--config", str(path), *given])
    said = evaluate.streaming_of(options)
    assert (said.mode, said.buffer_mb) == (mode, 8)


@pytest.mark.parametrize("name", ["--output", "--out"])
def test_predictions_go_where_either_spelling_says(name: str) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    predict.add_options(parser)
    assert parser.parse_args(["s3://bucket/music", name, "p.parquet"]).output == "p.parquet"
