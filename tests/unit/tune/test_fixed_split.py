"""What is written down when a search begins: what was held out from a saved model must stay held out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from genre_ray.config import MlpConfig, parse
from genre_ray.data.catalog import Catalog
from genre_ray.errors import RunError
from genre_ray.schema import Track
from genre_ray.tune.command import default_config
from genre_ray.tune.config import TuneConfig, load
from genre_ray.tune.corpus import fixed_split
from genre_ray.tune.run import claim, same_search

TRACKS = tuple(Track(id=f"{genre}.{number:02d}", label=genre) for genre in "ab" for number in range(40))
CATALOG = Catalog(
    TRACKS, ("a", "b"), (), "memory", "folders", digests={track.id: f"{track.id} as it was" for track in TRACKS}
)
CONFIG = parse(TuneConfig, {"name": "x", "protocol": {"name": "paper"}, "search": {"folds": 3}}, origin="test")


def test_a_track_that_is_lost_moves_no_other_between_parts_and_folds(tmp_path: Path) -> None:
    split, parts = fixed_split(CONFIG, CATALOG, tmp_path)
    lost = parts[0][0][0]
    again, after = fixed_split(CONFIG, CATALOG.without([lost]), tmp_path)
    assert len(after) == 3
    for (train, held_out), (train_after, held_out_after) in zip(parts, after, strict=True):
        assert set(train) - {lost} == set(train_after)
        assert set(held_out) - {lost} == set(held_out_after)
    assert again.test == tuple(track for track in split.test if track != lost)


def test_the_same_data_gives_the_same_parts(tmp_path: Path) -> None:
    assert fixed_split(CONFIG, CATALOG, tmp_path) == fixed_split(CONFIG, CATALOG, tmp_path)


def test_other_content_under_the_same_ids_is_other_data(tmp_path: Path) -> None:
    fixed_split(CONFIG, CATALOG, tmp_path)
    other = replace(CATALOG, digests=dict(CATALOG.digests) | {"a.07": "something else"})
    with pytest.raises(RunError, match=r"other data") as caught:
        fixed_split(CONFIG, other, tmp_path)
    assert "a.07" in str(caught.value)


def test_a_search_of_an_earlier_version_kept_no_folds_and_goes_on(tmp_path: Path) -> None:
    split, parts = fixed_split(CONFIG, CATALOG, tmp_path)
    stored = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    (tmp_path / "split.json").write_text(
        json.dumps({key: value for key, value in stored.items() if key not in ("folds", "digests")}), encoding="utf-8"
    )
    assert fixed_split(CONFIG, CATALOG, tmp_path) == (split, parts)


@pytest.mark.parametrize(("field", "value"), [("seed", 7), ("folds", 5), ("folds_by", "protocol"), ("metric", "loss")])
def test_what_decides_the_folds_and_the_meaning_of_scores_may_not_change_on_resume(
    tmp_path: Path, field: str, value: object
) -> None:
    config = load(default_config("smoke.yaml"))
    folder = claim(tmp_path, config, resume=False)
    changed = config.model_copy(update={"search": config.search.model_copy(update={field: value})})
    with pytest.raises(RunError, match="another configuration") as caught:
        same_search(folder, changed)
    assert f"search.{field}" in str(caught.value)


def test_the_budget_may_change_on_resume(tmp_path: Path) -> None:
    config = load(default_config("smoke.yaml"))
    folder = claim(tmp_path, config, resume=False)
    more = {"trials": 999, "time_budget": "9h", "concurrency": 1, "retries": 5, "save_every_s": 1.0}
    changed = config.model_copy(update={"search": config.search.model_copy(update=more)})
    same_search(folder, changed)
    other = changed.model_copy(update={"base": changed.base.model_copy(update={"model": MlpConfig()})})
    with pytest.raises(RunError, match="differences in base"):
        same_search(folder, other)
