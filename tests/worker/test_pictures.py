"""Where a trainer finds the pictures of its job: below the data root, or in the folder of an uploaded dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.database import connect, migrate
from jobs.records import Claim, DatasetDraft
from jobs.repository import Repository
from jobs.settings import Settings
from worker.pictures import DatasetGone, roots


@pytest.fixture
def place(tmp_path: Path) -> tuple[Repository, Settings]:
    settings = Settings(home=tmp_path / "home", data_root=tmp_path / "data", database_url=f"sqlite:///{tmp_path}/imprint.db")
    migrate(settings.database_url)
    return Repository(connect(settings.database_url)), settings


def claim(**data: object) -> Claim:
    return Claim("job_x", 1, {"data": data} if data else {})


def test_of_a_folder_and_of_nothing(place):
    repository, settings = place
    for each in (claim(), claim(source="digits"), claim(source="folder", path="photos", dataset=None)):
        assert roots(each, repository, settings) == (settings.data_root, [])


def test_of_a_registered_folder(place):
    repository, settings = place
    made = repository.create_dataset(DatasetDraft("x", "photos", {"images": 1}))
    assert roots(claim(path="photos", dataset=made.id), repository, settings) == (settings.data_root, [])


def test_of_an_upload(place):
    repository, settings = place
    made = repository.create_dataset(DatasetDraft("x", ".", {"archive": {}}))
    with pytest.raises(DatasetGone, match="not below this worker's home"):
        roots(claim(path=".", dataset=made.id), repository, settings)
    folder = settings.home / "datasets" / made.id
    folder.mkdir(parents=True)
    found = roots(claim(path=".", dataset=made.id), repository, settings)
    assert found == (folder, ["--files-root", str(settings.data_root)])


def test_deleted(place):
    repository, settings = place
    with pytest.raises(DatasetGone, match="has been deleted"):
        roots(claim(path=".", dataset=f"ds_{'0' * 26}"), repository, settings)
