"""Search files: what is accepted, and that each mistake is refused with file, field, value and remedy."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genre_ray.config import InputConfig, parse
from genre_ray.errors import ConfigError
from genre_ray.preprocessing import extract
from genre_ray.schema import Track
from genre_ray.tune import command
from genre_ray.tune.config import TuneConfig, load

BASE = {"name": "t", "protocol": {"name": "paper"}}


def config(**parts: object) -> TuneConfig:
    return parse(TuneConfig, BASE | parts, origin="file.yaml")


def refused(match: str, **parts: object) -> None:
    with pytest.raises(ConfigError, match=match):
        config(**parts)


def test_misspelt_key_is_refused_and_the_known_keys_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        config(base={"training": {"lerning_rate": 0.1}})
    assert "file.yaml: base.training.lerning_rate" in str(caught.value)
    assert "learning_rate" in (caught.value.remedy or "")


def test_value_out_of_range_names_field_and_value() -> None:
    refused(r"base\.training\.epochs: .*greater than or equal to 1 \(value 0\)", base={"training": {"epochs": 0}})


@pytest.mark.parametrize("kind", ["grid_search", "sample_from", "randn", "qloguniform", "quniform", "randint"])
def test_domains_that_optuna_cannot_take_are_refused_with_what_to_use(kind: str) -> None:
    refused(f"{kind} is not something Optuna can search: use ", space={"training.epochs": {kind: [1, 2]}})


def test_space_names_a_field_that_runs_have() -> None:
    refused("a run has no field 'training.rate'", space={"training.rate": {"uniform": [0, 1]}})


def test_both_bounds_of_the_space_are_checked_against_the_field() -> None:
    refused(r"space\.training\.learning_rate = 2\.0", space={"training.learning_rate": {"loguniform": [1e-4, 2.0]}})
    refused(r"space\.model\.dropout = -0\.1", space={"model.dropout": {"uniform": [-0.1, 0.5]}})


def test_bounds_in_the_wrong_order_are_refused() -> None:
    refused("lower bound below its upper bound", space={"model.dropout": {"uniform": [0.5, 0.1]}})


@pytest.mark.parametrize(
    ("field", "domain"),
    [("training.augment.shift_bins", {"uniform": [0, 4]}), ("training.epochs", {"loguniform": [10, 60]})],
)
def test_fractions_for_a_field_of_whole_numbers_are_refused(field: str, domain: dict[str, object]) -> None:
    refused(rf"space\.{field} = .*whole numbers: write int or logint", space={field: domain})


def test_whole_steps_serve_a_field_of_whole_numbers() -> None:
    assert config(space={"training.augment.shift_bins": {"uniform": [0, 4], "step": 2}}).space


def test_combinations_that_do_not_fit_together_are_refused() -> None:
    refused(
        "exceeds the 334 columns",
        space={"training.augment.crop_columns": {"choice": [None, 400]}},
    )
    # Six halvings leave nothing of a window of 16 columns: a mistake that no single field shows.
    small = {"training.augment.crop_columns": {"choice": [16, 128]}, "model.stages": {"int": [4, 6]}}
    refused("6 stages halve a picture of 128 x 16 to nothing", base={"model": {"kind": "cnn"}}, space=small)


def test_a_picture_is_as_wide_as_its_clip() -> None:
    frames = {"clip": {"duration_s": 3.0}, "spectrogram": {"form": "frames"}, "descriptors": True}
    sound = io.BytesIO()
    soundfile.write(sound, 0.1 * np.sin(np.arange(66_150) / 8.0), 22_050, format="WAV")
    inputs = parse(InputConfig, frames, origin="test")
    (clip,) = extract(Track(id="a", audio=sound.getvalue()), inputs)
    assert clip.spectrogram is not None
    assert inputs.picture_shape == clip.spectrogram.shape
    for name, augment in (
        ("crop_columns", {"crop_columns": 300}),
        ("variants.columns", {"variants": {"columns": 300}}),
    ):
        refused(f"{name} 300 exceeds the 130 columns", base={"inputs": frames, "training": {"augment": augment}})


@pytest.mark.parametrize(
    ("match", "parts"),
    [
        (r"refit\.seeds\.0: .*greater than or equal to 0", {"refit": {"seeds": [-1]}}),
        (r"refit\.seeds\.1: .*less than or equal to 4294967295", {"refit": {"seeds": [1, 2**40]}}),
        (r"refit\.seeds: a seed is given twice", {"refit": {"seeds": [42, 42]}}),
        (r"refit\.seeds: name one seed", {"refit": {"seeds": []}}),
        (r"resources\.gpus: write auto, a share", {"resources": {"gpus": -1}}),
        (r"resources\.gpus: write auto, a share", {"resources": {"gpus": 1.5}}),
        (r"resources\.gpus: write auto, .*'half'", {"resources": {"gpus": "half"}}),
        (r"resources\.cpus: .*less than", {"resources": {"cpus": 1.0e9}}),
        (r"search\.time_budget: write a number above 0", {"search": {"time_budget": "0s"}}),
        (r"search: trials is a number, not true", {"search": {"trials": True}}),
        (r"base\.training: epochs is a number, not false", {"base": {"training": {"epochs": False}}}),
        (r"min_duration_s 40 exceeds duration_s 30", {"base": {"inputs": {"clip": {"min_duration_s": 40}}}}),
        (r"leave 4% of the tracks to train on", {"protocol": {"name": "paper", "test_fraction": 0.95}}),
        (r"data: .* two slashes: s3://bucket/x", {"data": "s3:/bucket/x"}),
    ],
)  # fmt: skip
def test_values_that_no_trial_or_fit_could_use_are_refused(match: str, parts: dict[str, object]) -> None:
    refused(match, **parts)


@pytest.mark.parametrize("gpus", ["auto", 0, 0.25, 1, 2.0])
def test_gpus_are_a_share_of_one_or_whole_ones(gpus: object) -> None:
    assert config(resources={"gpus": gpus}).resources.gpus == gpus


@pytest.mark.parametrize(
    ("match", "domain"),
    [
        ("choice offers 8 twice", {"choice": [8, 8]}),
        (r"mixes numbers and text: \[8, '12'\]", {"choice": [8, "12"]}),
        ("step of 20 leads out of int", {"int": [8, 12], "step": 20}),
        ("stepp does not go with int; known keys there: int, step", {"int": [8, 12], "stepp": 2}),
    ],
)
def test_an_entry_of_the_space_makes_sense_by_itself(match: str, domain: dict[str, object]) -> None:
    refused(match, space={"training.batch_size": domain})


def test_a_misspelt_key_of_a_variant_is_refused_and_the_known_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"file\.yaml: variants\.a: training\.lerning_rate") as caught:
        config(variants={"a": {"training": {"lerning_rate": 0.1}}})
    assert "learning_rate" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [("epochs", "1e3", "write 1000"), ("epochs", "ten", None), ("learning_rate", "fast", None)],
)
def test_only_what_looks_like_a_number_is_said_to_be_read_as_text(field: str, value: str, remedy: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        config(base={"training": {field: value}})
    assert (caught.value.remedy or "").endswith(remedy or "")
    assert (caught.value.remedy is None) == (remedy is None)


def test_choices_are_scalars() -> None:
    refused(r"space", space={"model.hidden": {"choice": [[1, 2], [3, 4]]}})


def test_what_is_extracted_from_tracks_cannot_be_searched() -> None:
    refused("prepared once for a whole search", space={"inputs.spectrogram.form": {"choice": ["plot", "figure"]}})
    variants = {
        "a": {"inputs": {"spectrogram": {"form": "plot"}}},
        "b": {"inputs": {"spectrogram": {"form": "figure"}}},
    }
    refused("must be the same in all", variants=variants)


FLAT = {"model": {"kind": "mlp"}, "inputs": {"spectrogram": None}}


@pytest.mark.parametrize("inputs", [{"clip": {"duration_s": 10.0}}, {"features": {"tail": "kept"}}])
def test_what_is_extracted_without_a_picture_is_the_same_in_all_variants(inputs: dict[str, object]) -> None:
    refused("must be the same in all", base=FLAT, variants={"a": {"inputs": inputs}, "b": {}})


def test_the_tail_of_features_cannot_be_searched() -> None:
    refused("prepared once", base=FLAT, space={"inputs.features.tail": {"choice": ["dropped", "kept"]}})


def test_points_lie_in_the_space() -> None:
    space = {"model.dropout": {"uniform": [0.1, 0.5]}}
    refused(r"points\[0\]\.model\.dropout: 0\.9 lies outside", space=space, points=[{"model.dropout": 0.9}])
    refused(r"points\[0\]\.model\.hidden: not in the space", space=space, points=[{"model.hidden": 64}])


def test_streaming_is_typed_and_checked() -> None:
    assert config().streaming.mode == "auto"
    assert config(streaming={"mode": "always", "reader": "arrow"}).streaming.reader == "arrow"
    refused(r"streaming\.mode.*sometimes", streaming={"mode": "sometimes"})
    refused(r"streaming\.buffer_mb", streaming={"buffer_mb": 0})
    refused(r"streaming\.bufer_mb", streaming={"bufer_mb": 10})


def test_a_search_without_end_is_refused() -> None:
    refused("would never end", search={"trials": None, "time_budget": None})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0)])
def test_time_budget_is_read_in_seconds(text: str, seconds: float) -> None:
    assert config(search={"time_budget": text}).search.time_budget_s == seconds


def test_time_budget_without_unit_is_refused() -> None:
    refused("such as 30m", search={"time_budget": "30"})


def test_variant_is_laid_over_the_base_and_a_new_kind_replaces_the_model() -> None:
    both = config(
        base={"training": {"epochs": 3}},
        variants={"flat": {"model": {"kind": "mlp", "width": 64}, "inputs": {"spectrogram": None}}},
    )
    run = both.resolve({"variant": "flat", "training.learning_rate": 0.5})
    assert (run.model.kind, run.training.epochs, run.training.learning_rate) == ("mlp", 3, 0.5)
    assert run.inputs.spectrogram is None


def test_parameters_of_a_variant_are_only_its_own_and_the_common_ones() -> None:
    both = config(
        variants={"a": {}, "b": {"model": {"kind": "mlp"}, "inputs": {"spectrogram": None}}},
        space={"training.learning_rate": {"loguniform": [1e-4, 1e-2]}, "b/model.width": {"choice": [64, 128]}},
    )
    assert set(both.parameters("a")) == {"training.learning_rate"}
    assert set(both.parameters("b")) == {"training.learning_rate", "b/model.width"}
    assert both.resolve({"variant": "b", "b/model.width": 64}).model.model_dump()["width"] == 64


def test_preparation_covers_every_variant() -> None:
    both = config(variants={"flat": {"model": {"kind": "mlp"}, "inputs": {"spectrogram": None}}, "whole": {}})
    assert both.preparation().spectrogram is not None
    assert both.preparation().features is not None


def test_longest_training_includes_what_is_searched() -> None:
    assert config(space={"training.epochs": {"int": [5, 90]}}).longest_training() == 90


def test_duplicate_key_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nprotocol: {name: paper}\nname: b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="given twice"):
        load(path)


def test_missing_file_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")


def test_the_command_line_lies_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("name: x\nprotocol: {name: paper}\nresources: {cpus: 2}\n")
    line = [
        "--config",
        str(tmp_path / "x.yaml"),
        "--gpus",
        "0.25",
        "--concurrency",
        "32",
        "--trials",
        "7",
        "--name",
        "y",
    ]
    found = command.configure(command.parser().parse_args(line))
    assert (found.name, found.search.trials, found.search.concurrency) == ("y", 7, 32)
    assert (found.resources.cpus, found.resources.gpus) == (2, 0.25)
