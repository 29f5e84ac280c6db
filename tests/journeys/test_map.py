"""From a folder of pictures to its map by the command line, with real parts. The job compiles for some 10 s."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from imprint.cli import app
from support.journeys import PICTURES, Undisturbed
from support.service import Service


def test_from_a_folder_to_a_map(service: Service, undisturbed: Undisturbed, tmp_path: Path) -> None:
    vectors = service.succeeded(service.client.embed_folder("pictures", undisturbed.job.id).id)
    target = tmp_path / "map.csv"
    done = CliRunner().invoke(app, ["--server", service.address, "map", vectors.id, "-o", str(target), "--seed", "3"])
    assert done.exit_code == 0, done.output
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == PICTURES and {each["folder"] for each in rows} == {"flat", "striped"}
    assert list(rows[0]) == ["path", "folder", "x", "y", "cluster", "outlier"]
    (job,) = [each for each in service.client.jobs() if each.kind == "map"]
    assert f"/ui/explore/{job.id}" in done.output and job.raw["spec"]["seed"] == 3
    assert [event.data["phase"] for event in service.history(job.id, "phase")][-3:] == ["layout", "clusters", "saving"]
    again = pq.read_table(service.client.save_map(job.id, tmp_path / "map.parquet"))
    assert again.column("path").to_pylist() == [each["path"] for each in rows]
    assert again.column("x").to_pylist() == pytest.approx([float(each["x"]) for each in rows])
    first = service.client.map_points(job.id, order="outlier", limit=1)["data"][0]
    assert first["outlier"] == max(again.column("outlier").to_pylist())
