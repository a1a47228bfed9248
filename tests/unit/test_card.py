"""The model card says what the manifest knows, and nothing else."""

import json

from genre_ray import checkpoint
from genre_ray.card import card


def test_a_checkpoint_carries_its_card(fitted, labels, tmp_path):
    test = {"n": 40, "accuracy": 0.675, "accuracy_interval": [0.52, 0.8], "macro_f1": 0.634, "ece": 0.266}
    data = {"root": "music", "kind": "folder", "protocol": "paper", "leaks": "3 of 40 share an artist", "tracks": ["a"]}
    saved = checkpoint.save(
        tmp_path / "best", [fitted], temperature=0.8, metrics={"test": test}, data=data, notes={"remark": "A remark."}
    )
    text = (saved / "README.md").read_text(encoding="utf-8")
    assert checkpoint.version_of(saved) in text
    for label in labels:
        assert label in text
    for words in (
        "40 test tracks that it was not fitted on: accuracy 0.675 (95 % 0.520 to 0.800), macro F1 0.634",
        "3 of 40 share an artist",
        "1 tracks of `music` (folder) under the protocol `paper`",
        "temperature 0.800",
        f"| {fitted.config.model.kind} | 1.000 |",
        "What it is not for",
        "A remark.",
    ):
        assert words in text


def test_what_is_not_known_is_not_claimed(fitted, tmp_path):
    saved = checkpoint.save(tmp_path / "best", [fitted], metrics={}, data={})
    text = card(json.loads((saved / "manifest.json").read_text(encoding="utf-8")))
    assert "Not recorded." in text
    assert "On no test part." in text
    assert "accuracy" not in text.split("## How it scored")[1].split("##")[0]
