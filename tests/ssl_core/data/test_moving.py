"""What moves is heard, and by everybody who listens."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from ssl_core.data import cache as caches
from ssl_core.data.cache import Cache
from ssl_core.data.moving import heard_by, moved, while_growing
from ssl_core.data.scan import scan
from ssl_core.data.store import decode_all
from ssl_core.events import Events, Stopped
from ssl_core.preparing import moving, preparing
from support.prepared import SIDE, Calls, pictures


class Count:
    """Hears."""

    def __init__(self) -> None:
        self.beats = 0

    def __call__(self) -> None:
        self.beats += 1


def test_everybody_who_listens_hears_and_nobody_else() -> None:
    moved()
    outer, inner = Count(), Count()
    with heard_by(outer):
        moved()
        with heard_by(inner):
            moved()
            thread = threading.Thread(target=moved)  # nobody listens there
            thread.start()
            thread.join()
        moved()
    moved()
    assert (outer.beats, inner.beats) == (3, 1)


def test_walking_hashing_and_decoding_are_heard(tmp_path: Path) -> None:
    root, count = pictures(tmp_path / "photos", 12), Count()
    with heard_by(count):
        found = scan(root, tmp_path)
        walked = count.beats
        cache = Cache(tmp_path / "cache")
        cache.prepared(found, "sha256:a", SIDE, Calls())
        prepared = count.beats
        for path in found.paths:
            os.utime(root / path)
        cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls())
        hashed = count.beats
        decode_all(root, found.paths, SIDE)
    assert walked == 12 + 3  # and the folders
    assert walked < prepared
    assert hashed == prepared + 15 + 12
    assert count.beats > hashed


def test_whoever_waits_for_another_hears_it_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held by this test, which counts in it as a maker does, twice."""
    monkeypatch.setattr(caches, "POLL_SECONDS", 0.02)
    root, cache, count = pictures(tmp_path / "photos", 3), Cache(tmp_path / "cache"), Count()
    found, calls = scan(root, tmp_path), Calls()
    cache.prepared(found, "sha256:a", SIDE, calls)
    [lock] = cache.folder.glob("*.lock")
    assert int(lock.read_bytes()) > 0, "the maker has counted"
    [entry] = (each for each in cache.folder.iterdir() if each.is_dir())
    entry.rename(tmp_path / "gone")

    def waits() -> None:
        with heard_by(count):
            cache.prepared(found, "sha256:a", SIDE, calls)

    with lock.open("r+b", buffering=0) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        thread = threading.Thread(target=waits)
        thread.start()
        until(lambda: count.beats == 1)  # what it finds there first
        time.sleep(0.2)
        assert count.beats == 1, "the maker stands still, and so does who waits for it"
        os.pwrite(held.fileno(), b"%-20d" % 999, 0)
        until(lambda: count.beats == 2)
    thread.join(20)
    assert count.beats > 2


class TestDownloads:
    def test_a_growing_file_is_heard(self, tmp_path: Path) -> None:
        count = Count()

        def download() -> str:
            with (tmp_path / "cifar-10.tar.gz").open("wb", buffering=0) as file:
                for _ in range(8):
                    file.write(b"some")
                    time.sleep(0.25)
            return "done"

        with heard_by(count):
            assert while_growing(download, tmp_path, "cifar-10") == "done"
        assert 2 <= count.beats <= 5

    def test_one_that_does_not_grow_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "cifar-10.tar.gz").write_bytes(b"some")
        count = Count()
        with heard_by(count):
            while_growing(lambda: time.sleep(1.2), tmp_path, "cifar-10")
        assert count.beats == 0

    def test_what_is_raised_there_is_raised_here(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            while_growing(lambda: 1 / 0, tmp_path, "cifar-10")


class TestTold:
    def test_beats_and_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ssl_core.preparing.SAY_SECONDS", -1.0)
        said: list[dict[str, object]] = []
        events = Events(None, said.append)
        with preparing(events, lambda: False) as progress:
            moved()
            progress(3, 9)
            moved()
        with moving(events, "embedding"):
            moved()
        told = [(each["phase"], each.get("beat"), each.get("done")) for each in said]
        assert told == [
            ("preparing", None, None), ("preparing", 1, None), ("preparing", 1, 3), ("preparing", 2, 3), ("embedding", 1, None),
        ]  # fmt: skip

    def test_a_stop_ends_whatever_moves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ssl_core.preparing.SAY_SECONDS", -1.0)
        with pytest.raises(Stopped), preparing(Events(None), lambda: True):
            moved()


def until(true: object) -> None:
    deadline = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
