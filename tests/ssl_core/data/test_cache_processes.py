"""The prepared cache among processes: kills, stops, two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ssl_core.data import prepare
from ssl_core.data.cache import Cache
from ssl_core.data.scan import scan
from support.prepared import SIDE, Calls, expected, pictures, rows

MAKE = """
import sys, time
from pathlib import Path
from ssl_core.data import prepare
from ssl_core.data.cache import Cache
from ssl_core.data.scan import scan
prepare.SYNC_SECONDS = prepare.PROGRESS_SECONDS = 0.0
root = Path(sys.argv[1])
def progress(done, total):
    print(done, total, flush=True)
    time.sleep(float(sys.argv[2]))
Cache(root / "cache").prepared(scan(root / "photos", root), "sha256:a", 16, progress)
"""


def making(root: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKE, str(root), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


class TestProcesses:
    def test_a_preparation_killed_at_any_moment_is_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = pictures(tmp_path / "photos", 4 * prepare.CHUNK)
        maker = making(tmp_path, pause=0.5)
        try:
            assert maker.stdout is not None
            told = (int(line.split()[0]) for line in maker.stdout)  # on a busy machine also that it still is at it
            assert next(done for done in told if done >= 2 * prepare.CHUNK) == 2 * prepare.CHUNK
        finally:
            os.killpg(maker.pid, signal.SIGKILL)
            maker.wait()
            maker.stdout.close()
        decoded: list[str] = []

        class Counting(prepare.Decoder):
            def decode(self, first: int, root: Path, paths: list[str]) -> list[object]:
                decoded.extend(paths)
                return super().decode(first, root, paths)

        monkeypatch.setattr(prepare, "Decoder", Counting)
        found = scan(root, tmp_path)
        pixels = rows(Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, Calls()))
        assert 0 < len(decoded) <= 3 * prepare.CHUNK  # the first chunk at least was noted
        assert all(np.array_equal(pixels[row], expected(root, path)) for row, path in enumerate(found.paths))

    def test_two_at_once_decode_once(self, tmp_path: Path) -> None:
        pictures(tmp_path / "photos", 2 * prepare.CHUNK)
        makers = [making(tmp_path, pause=0.0) for _ in range(2)]
        said = [maker.communicate(timeout=60)[0].splitlines() for maker in makers]
        assert [maker.returncode for maker in makers] == [0, 0]
        # Whoever waits reports that nothing is done yet, and finds the entry ready.
        worked = [lines for lines in said if any(not line.startswith("0 ") for line in lines)]
        assert len(worked) == 1

    def test_no_decoder_outlives_a_killed_maker(self, tmp_path: Path) -> None:
        pictures(tmp_path / "photos", 4 * prepare.CHUNK)
        maker = making(tmp_path, pause=30.0)
        assert maker.stdout is not None
        maker.stdout.readline()
        children = Path(f"/proc/{maker.pid}/task/{maker.pid}/children")
        if not children.exists():
            pytest.skip("needs /proc/<pid>/task/<pid>/children (Linux)")
        tasks = Path(f"/proc/{maker.pid}/task").iterdir()
        started = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        assert started
        maker.kill()  # itself alone, not its group
        maker.wait()
        maker.stdout.close()
        deadline = time.monotonic() + 10
        while any(_alive(each) for each in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [each for each in started if _alive(each)]

    def test_sigterm_to_the_group_spoils_no_file(self, tmp_path: Path) -> None:
        """A stop reaches the decoders as well; were they to obey it, the files at hand would count as deadly."""
        root = pictures(tmp_path / "photos", 3 * prepare.CHUNK)
        stop, others = threading.Event(), _children()  # of other tests

        def progress(done: int, total: int) -> None:
            if not stop.is_set():
                stop.set()
                for child in _children() - others:
                    os.kill(child, signal.SIGTERM)

        prepared = Cache(tmp_path / "cache").prepared(scan(root, tmp_path), "sha256:a", SIDE, progress)
        assert prepared.unreadable == {}


def _children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
