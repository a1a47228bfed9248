"""A ClipTable is the same before and after Arrow and Parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genre_ray.clips import ClipTable
from genre_ray.schema import Clip

GENERATOR = np.random.default_rng(3)


def clips(count: int = 5, *, picture: bool = True, features: bool = True) -> ClipTable:
    return ClipTable.from_clips(
        Clip(
            track=f"track.{i // 2}",
            label="rock" if i % 2 else None,
            index=i % 2,
            start_s=1.5 * i,
            spectrogram=GENERATOR.integers(0, 256, (1, 4, 6), dtype=np.uint8) if picture else None,
            features=GENERATOR.standard_normal(57) if features else None,
        )
        for i in range(count)
    )


def assert_same(one: ClipTable, two: ClipTable) -> None:
    for name in ("track", "label", "index", "start_s", "spectrogram", "features"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize(("picture", "features"), [(True, True), (True, False), (False, True)])
def test_parquet_gives_back_every_array(tmp_path: Path, picture: bool, features: bool) -> None:
    table = clips(picture=picture, features=features)
    pq.write_table(table.to_arrow(), tmp_path / "t.parquet")
    assert_same(ClipTable.from_arrow(pq.read_table(tmp_path / "t.parquet")), table)


def test_slices_and_chunks_of_the_arrow_table_keep_their_rows() -> None:
    table = clips()
    arrow = table.to_arrow()
    assert_same(ClipTable.from_arrow(arrow.slice(1, 3)), table.take([1, 2, 3]))
    assert_same(ClipTable.from_arrow(pa.concat_tables([arrow.slice(3), arrow.slice(0, 2)])), table.take([3, 4, 0, 1]))


def test_a_part_holds_all_clips_of_its_tracks_in_order() -> None:
    part = clips().part({"track.2", "track.0", "unknown"})
    assert part.track.tolist() == ["track.0", "track.0", "track.2"]


def test_clips_of_different_shapes_are_refused() -> None:
    one = Clip(track="a", spectrogram=np.zeros((1, 4, 6), np.uint8))
    with pytest.raises(ValueError, match="some clips have"):
        ClipTable.from_clips([one, Clip(track="b")])
    with pytest.raises(ValueError, match="shape"):
        ClipTable.from_clips([one, Clip(track="b", spectrogram=np.zeros((1, 4, 7), np.uint8))])
    with pytest.raises(ValueError, match="no clips"):
        ClipTable.from_clips([])
