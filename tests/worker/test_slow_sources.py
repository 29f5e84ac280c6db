"""Pictures that come slowly are no trainer that hangs; pictures that do not come at all are. 10 s: time is what it is about."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from support.prepared import pictures
from support.processes import eventually
from support.workplace import Workplace
from worker.pace import Pace

COMMAND = (sys.executable, str(Path(__file__).with_name("preparer.py")))
STALL = 2.5
SLOW = """
import sys, time
def audit(event, args):
    if event == 'open' and str(args[0]).endswith('.png') and '/1/' in str(args[0]): time.sleep({seconds})
sys.addaudithook(audit)
"""


def slow(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every process that is started from now on takes so long to open a picture of class 1, as it would from a distant disk."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SLOW.format(seconds=seconds))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def submit(place: Workplace, count: int) -> str:
    pictures(place.settings.data_root / "photos", count)
    return place.submit(photos="photos")


def test_a_slow_source_is_waited_for_and_its_progress_is_seen(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk, of which nothing was told until it was whole: 24 pictures of class 1 at 0.25 s each are 6 s of it."""
    slow(place.settings.home.parent / "hook", monkeypatch, 0.25)
    job_id = submit(place, 72)
    thread = threading.Thread(
        target=place.supervisor(trainer_command=COMMAND, stall_seconds=STALL, max_attempts=1).run, args=[job_id]
    )
    thread.start()

    def far() -> int:
        return (place.repository.get(job_id).progress or {}).get("images_prepared", 0)

    seen = {eventually(lambda: 0 < far() < 72 and far(), "some of the pictures are prepared", 20)}
    eventually(lambda: far() > max(seen), "more of them are", 20)
    thread.join(30)
    job = place.repository.get(job_id)
    assert job.attempt == 1 and job.error is not None and job.error["code"] == "prepared", job.error


def test_a_source_that_hangs_is_not(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(place.settings.home.parent / "hook", monkeypatch, 600)
    job = place.run(submit(place, 6), trainer_command=COMMAND, stall_seconds=STALL, max_attempts=1)
    assert job.status == "failed" and job.error is not None and job.error["code"] == "stalled"
    assert job.error["message"].startswith("nothing moved in the trainer, which was preparing, for 2 s or more; it was killed")


class TestPace:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1000.0]
        monkeypatch.setattr("worker.pace.time.monotonic", lambda: now[0])
        return now

    def test_speaking_is_not_moving(self, clock: list[float]) -> None:
        pace = Pace()
        for beat, idle in ((1, 0), (2, 0), (2, 9), (2, 18), (3, 0)):
            clock[0] += 9
            pace.heard({"type": "phase", "phase": "preparing", "beat": beat, "done": beat, "total": 9})
            assert pace.idle == idle
        assert not pace.stands_still(8)
        clock[0] += 9
        assert pace.stands_still(8)

    def test_what_moves_between_two_steps_makes_no_step_shorter(self, clock: list[float]) -> None:
        pace = Pace()
        for step in range(1, 5):
            clock[0] += 10
            pace.heard({"type": "phase", "phase": "embedding", "beat": step})
            clock[0] += 10
            pace.heard({"type": "progress", "step": step})
        clock[0] += 199
        assert not pace.stands_still(1)
        clock[0] += 2
        assert pace.stands_still(1)
