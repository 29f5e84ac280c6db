"""Where the pictures of a job lie: below the data root, or, of an uploaded dataset, below the home that all machines share."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import NotFound
from jobs.records import Claim
from jobs.repository import Repository
from jobs.settings import Settings
from jobs.uploads import Uploads


class DatasetGone(NotFound):
    """The job's dataset was deleted, or its files are not here."""


def roots(claim: Claim, repository: Repository, settings: Settings) -> tuple[Path, list[str]]:
    """The trainer's data root, and what else its command line needs. Raises DatasetGone."""
    data = claim.spec.get("data")
    dataset = data.get("dataset") if isinstance(data, dict) else None
    if dataset is None:
        return settings.data_root, []
    record = repository.find_dataset(dataset)
    if record is None:
        raise DatasetGone(f"the dataset {dataset} has been deleted")
    if not record.uploaded:
        return settings.data_root, []
    place = Uploads(settings.datasets).place_of(dataset)
    if not place.is_dir():
        raise DatasetGone(f"the pictures of {dataset} are not below this worker's home: {place} is not there")
    return place, ["--files-root", str(settings.data_root)]
