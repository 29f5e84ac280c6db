"""A backup taken as docs/howto/backup.md says, while jobs run; what is restored from it serves, and goes on."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from support.composed import free_port
from support.journeys import Undisturbed, assert_same_weights, spec
from support.service import Service

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "backup.md"


def back_up(home: Path, to: Path) -> None:
    """The database with the very command of the page, then the files without what the page leaves out."""
    (program,) = re.findall(r'^\.venv/bin/python -c "(.*VACUUM INTO.*)"$', PAGE.read_text(), re.MULTILINE)
    to.mkdir()
    words = (
        program.replace('\\"', '"')
        .replace("imprint-home/imprint.db", f"{home}/imprint.db")
        .replace("backup.db", f"{to}/backup.db")
    )
    subprocess.run([sys.executable, "-P", "-c", words], check=True)
    (excluded,) = {line for line in PAGE.read_text().splitlines() if line.startswith("rsync")}
    names = [name.strip("'/") for name in re.findall(r"--exclude (\S+)", excluded)]
    assert names == ["run", "prepared", "exports", "imprint.db*"]
    with contextlib.suppress(shutil.Error):  # a checkpoint that was replaced meanwhile, which rsync passes over too
        shutil.copytree(home, to / "home", ignore=lambda folder, _: _excluded(home, folder, names))


def _excluded(home: Path, folder: str, names: list[str]) -> set[str]:
    return {each.name for name in names for each in home.glob(name)} if Path(folder) == home else set()


def test_what_is_restored_serves_and_goes_on(service: Service, undisturbed: Undisturbed, pictures: Path, tmp_path: Path) -> None:
    service.stop(service.worker)
    service.start_worker(lease_seconds=3, heartbeat_seconds=0.5)
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    back_up(service.home, tmp_path / "backup")
    assert service.job(job_id).status == "running", "the run is too short for this test"
    files = sorted((pictures / "pictures").rglob("*.png"))[:3]
    expected = service.client.embed(files, undisturbed.job.id)
    service.client.cancel(job_id)

    restored = Service(tmp_path / "elsewhere", pictures, free_port())
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "backup" / "home", restored.home)
    shutil.move(tmp_path / "backup" / "backup.db", restored.home / "imprint.db")
    try:
        restored.start_broker()
        restored.start_api()
        np.testing.assert_array_equal(restored.client.embed(files, undisturbed.job.id), expected)
        assert restored.job(job_id).status == "running", "as it was at the time of the backup"
        restored.start_worker()
        ended = restored.succeeded(job_id)
        assert ended.attempt == 2
        (resumed,) = restored.history(job_id, "resumed")
        assert resumed.data["step"] > 0
        assert_same_weights(restored, ended, undisturbed)
    finally:
        assert restored.close() == []
    service.stop(service.worker)
