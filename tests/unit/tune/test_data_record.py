from types import SimpleNamespace
from typing import Any

from genre_ray.tune.winners import data_record


def test_a_checkpoint_remembers_how_many_tracks_of_each_label_it_was_fitted_on() -> None:
    labels = {"a": "jazz", "b": "jazz", "c": "rock", "d": "rock"}
    catalog: Any = SimpleNamespace(
        root="music",
        kind="folder",
        fingerprint=lambda: "0",
        digests={"a": "0123456789abcdef and more", "c": ""},
        by_id={t: SimpleNamespace(label=g) for t, g in labels.items()},
    )
    split = SimpleNamespace(name="paper", leaks=SimpleNamespace(describe=lambda: "none"))
    record = data_record(SimpleNamespace(catalog=catalog, split=split), ["a", "b", "c"])  # type: ignore[arg-type]
    assert record["label_counts"] == {"jazz": 2, "rock": 1}
    assert record["contents"] == ["0123456789abcdef", "", ""]
