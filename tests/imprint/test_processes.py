"""Children, the broker and the lock, with real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imprint import broker, running
from imprint.child import Child
from imprint.errors import StackError


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class TestChild:
    def child(self, tmp_path: Path, code: str, patience: float = 5.0) -> Child:
        return Child("it", [sys.executable, "-u", "-c", code], os.environ, tmp_path / "it.log", patience)

    def test_keeps_a_log_of_the_present_process_apart(self, tmp_path: Path) -> None:
        child = self.child(tmp_path, "import sys; print('said'); print('wrong', file=sys.stderr); sys.exit(7)")
        (tmp_path / "it.log").write_text("an earlier run\n")
        child.start()
        assert eventually(lambda: not child.running)
        assert child.exit_code == 7
        assert child.tail() == "said\nwrong"
        assert child.log.read_text().startswith("an earlier run")

    def test_kill_ends_its_whole_group(self, tmp_path: Path) -> None:
        code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid); p.wait()"
        child = self.child(tmp_path, code)
        child.start()
        assert eventually(lambda: child.tail() != "")
        grandchild = int(child.tail())
        child.kill()
        assert not child.running and eventually(lambda: not alive(grandchild))

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties children to their parent on Linux only")
    def test_dies_with_a_parent_that_is_killed(self, tmp_path: Path) -> None:
        code = f"""
import os, time
from pathlib import Path
from imprint.child import Child
child = Child("it", ["sleep", "60"], os.environ, Path({str(tmp_path / "it.log")!r}), 5.0)
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        assert eventually(lambda: not alive(pid))

    def test_a_long_log_is_set_aside(self, tmp_path: Path) -> None:
        child = self.child(tmp_path, "print('new')")
        child.log.write_bytes(b"x" * (10 * 2**20 + 1))
        child.start()
        assert eventually(lambda: not child.running)
        assert child.log.read_text() == "new\n"
        assert (tmp_path / "it.log.1").stat().st_size == 10 * 2**20 + 1


class TestBroker:
    def start(self, run: Path, data: Path) -> tuple[Child, Path]:
        path = broker.socket_path(broker.private_folder(run))
        config = broker.write_config(run, path, data)
        child = Child("broker", [broker.binary(), str(config)], os.environ, run / "broker.log", 5.0)
        child.start()
        assert eventually(lambda: broker.answers(path)), child.tail()
        return child, path

    def test_is_durable_private_and_off_the_network(self, tmp_path: Path) -> None:
        # A space and a quote in the path: the configuration file must carry them.
        run, data = tmp_path / 'a "b" c' / "run", tmp_path / 'a "b" c' / "data"
        child, path = self.start(run, data)
        try:
            assert stat.S_IMODE(run.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
            for setting, value in (("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("port", "0")):
                assert value.encode() in broker.ask(path, f"CONFIG GET {setting}\r\n".encode())
            assert broker.ask(path, b"SET kept 1\r\n") == b"+OK\r\n"
            time.sleep(0.1)
        finally:
            child.kill()
        child, path = self.start(run, data)
        try:
            assert broker.ask(path, b"GET kept\r\n") == b"$1\r\n1\r\n"
            broker.clear_away(path)
            assert eventually(lambda: not child.running) and not path.exists()
        finally:
            child.kill()

    def test_a_long_path_gets_a_short_private_place(self, tmp_path: Path) -> None:
        run = tmp_path / ("x" * 60) / ("y" * 60) / "run"
        broker.private_folder(run)
        path = broker.socket_path(run)
        try:
            assert len(os.fsencode(path)) <= broker.LONGEST_SOCKET_PATH
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert path == broker.socket_path(run)  # the same again, or the stack could not find an old broker
            assert path != broker.socket_path(broker.private_folder(run / "other"))
        finally:
            broker.remove(path, run)
            broker.remove(broker.socket_path(run / "other"), run / "other")
        assert not path.parent.exists()

    def test_a_folder_that_is_a_link_is_not_trusted(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StackError, match="not a folder of yours"):
            broker.private_folder(tmp_path / "run")

    def test_silence_is_no_answer(self, tmp_path: Path) -> None:
        assert not broker.answers(tmp_path / "nothing.sock")


class TestRunning:
    def test_one_holder_at_a_time(self, tmp_path: Path) -> None:
        first, second = running.Lock(tmp_path), running.Lock(tmp_path)
        assert first.acquire() and not second.acquire()
        first.release()
        assert second.acquire()
        second.release()

    def test_the_note_is_found_from_below_and_ends_with_its_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "imprint-home"
        (home / "run").mkdir(parents=True)
        (tmp_path / "deep" / "er").mkdir(parents=True)
        note = running.Running(os.getpid(), "http://127.0.0.1:1", str(home), "/pictures")
        running.write(note)
        assert running.find(tmp_path / "deep" / "er") == note
        monkeypatch.setenv("IMPRINT_HOME", str(tmp_path / "another"))
        assert running.find(tmp_path / "deep" / "er") is None

        done = subprocess.Popen(["true"])
        done.wait()
        running.write(running.Running(done.pid, note.address, str(home), "/pictures"))
        assert running.read(home) is None
        running.erase(home)
        assert running.read(home) is None

    def test_a_torn_note_is_no_note(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        for content in ("{", "[]", '{"pid": 1}'):
            (tmp_path / running.NOTE).write_text(content)
            assert running.read(tmp_path) is None
