"""Which folder a search takes: a new one, or the newest to go on with."""

from pathlib import Path

import pytest

from genre_ray.errors import CatalogError, GenreRayError, RunError
from genre_ray.tune.command import default_config
from genre_ray.tune.config import TuneConfig, load
from genre_ray.tune.corpus import SPLIT
from genre_ray.tune.run import claim, claimed


@pytest.fixture
def config() -> TuneConfig:
    return load(default_config("smoke.yaml")).model_copy(update={"name": "mine"})


def test_each_search_has_a_folder_of_its_own(tmp_path: Path, config: TuneConfig) -> None:
    first = claim(tmp_path, config, resume=False)
    assert claim(tmp_path, config, resume=False) != first


def test_resume_takes_the_newest(tmp_path: Path, config: TuneConfig) -> None:
    claim(tmp_path, config, resume=False)
    second = claim(tmp_path, config, resume=False)
    assert claim(tmp_path, config, resume=True) == second
    assert claim(tmp_path, config, resume=True, or_start=True) == second


def test_resume_of_nothing_is_an_error_that_says_so(tmp_path: Path, config: TuneConfig) -> None:
    with pytest.raises(RunError, match="nothing to resume"):
        claim(tmp_path, config, resume=True)


def test_resume_or_start_begins_where_there_is_nothing(tmp_path: Path, config: TuneConfig) -> None:
    assert claim(tmp_path, config, resume=True, or_start=True) == tmp_path / "mine"


def test_a_claimed_folder_is_that_of_its_search_from_the_first_moment(tmp_path: Path, config: TuneConfig) -> None:
    folder = claim(tmp_path, config, resume=False)
    assert load(folder / "config.yaml") == config
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert claim(tmp_path, config, resume=True, or_start=True) == folder


def end(error: GenreRayError, output: Path, config: TuneConfig, *, begun: bool = False, resume: bool = False) -> None:
    def search() -> None:
        with claimed(output, config, resume=resume, or_start=True) as folder:
            if begun:
                (folder / SPLIT).touch()
            raise error

    with pytest.raises(type(error)):
        search()


def test_a_folder_is_given_back_when_its_data_cannot_be_opened(tmp_path: Path, config: TuneConfig) -> None:
    end(CatalogError("there is no such folder"), tmp_path, config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("begun", "error"), [(True, CatalogError("gone")), (False, RunError("the disk is full"))])
def test_what_can_be_gone_on_with_is_kept(tmp_path: Path, config: TuneConfig, begun: bool, error: RunError) -> None:
    end(error, tmp_path, config, begun=begun)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_misspelt_path_on_resume_costs_nothing(tmp_path: Path, config: TuneConfig) -> None:
    folder = claim(tmp_path, config, resume=False)
    end(CatalogError("there is no such folder"), tmp_path, config, resume=True)
    assert folder.exists()
