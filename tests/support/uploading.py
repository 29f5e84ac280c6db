"""Uploads in tests of the API: sending one, and what it leaves on the disk."""

from __future__ import annotations

ZIP = {"Content-Type": "application/zip"}


def post(running, data, name="pets", **more):
    headers = {**ZIP, **more.pop("headers", {})}
    return running.http.post("/datasets", params={"name": name, **more}, content=data, headers=headers)


def left(running):
    """Names of whatever lies in the home's folder of datasets, hidden or not, that no dataset names; archives too."""
    folder = running.services.settings.datasets
    known = running.repository.dataset_ids() | {".uploads"}
    places = (folder, folder / ".uploads")
    return {each.name for place in places if place.is_dir() for each in place.iterdir()} - known
