"""Somebody who reads the documentation at a machine: types what it says, in a folder of their own, with a service beside.

The service is a real `imprint up`. What differs from a reader with time: trainings last eight epochs, or one, the beetles are
few and small, near-duplicates begin at a lower cosine, and every port of a page is another, free one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from imprint.child import die_with_parent
from support.composed import free_port
from support.doc_pages import ROOT, Block, blocks, difference

PATIENCE = 600.0  # seconds for a block, on a machine that does other things too
_IMPRINT = """#!/bin/sh
case "$1" in
train) set -- "$@" --epochs 8 ;;
report) set -- "$@" --threshold 0.3 ;;
measure) case " $* " in *" --finetune "*) set -- "$@" --set epochs=1 ;; esac ;;
esac
exec "{python}" -P -m imprint "$@"
"""
_PYTHON = """#!/bin/sh
case "$1" in */draw_beetles.py) set -- "$@" --each {each} --side 32 ;; esac
exec "{python}" "$@"
"""
EACH = 12


class Reader:
    """HOME has pictures in ~/Pictures/beetles. `start` what a page says, then `read` pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for name, script in (("imprint", _IMPRINT), ("python", _PYTHON)):
            (programs / name).write_text(script.format(python=sys.executable, each=EACH))
            (programs / name).chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
        self.env = {
            **inherited,
            "HOME": str(folder),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "400",  # so that no line is broken
            "OMP_NUM_THREADS": "1",
            "IMPRINT_SERVER": self.address,
        }
        self._service: subprocess.Popen[bytes] | None = None
        self._ports = {"8000": self.port}
        self._beside: list[int] = []  # groups of processes that a page started and left running
        draw = [str(programs / "python"), str(ROOT / "examples" / "draw_beetles.py"), str(folder / "Pictures" / "beetles")]
        subprocess.run(draw, check=True, capture_output=True)

    def start(self, command: str) -> None:
        """The service, with the very command of a page."""
        settings = {"IMPRINT_PORT": str(self.port), "IMPRINT_POLL_SECONDS": "0.1", "IMPRINT_SWEEP_SECONDS": "0.5"}
        with (self.folder / "up.log").open("wb") as log:
            self._service = subprocess.Popen(
                ["bash", "-c", f"exec env {self._elsewhere(command)}"],
                env={**self.env, **settings},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        deadline = time.monotonic() + PATIENCE
        while "Ctrl-C stops it" not in self.log():
            assert self._service.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        """What the service said."""
        return (self.folder / "up.log").read_text()

    def stop(self) -> int | None:
        """The service, as Ctrl-C does; its exit status. And what pages left running."""
        for group in self._beside:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        if self._service is None:
            return None
        self._service.send_signal(signal.SIGTERM)
        try:
            return self._service.wait(60)
        except subprocess.TimeoutExpired:
            self._service.kill()
            return self._service.wait()

    def read(self, page: Path, brings: Sequence[Path] = ()) -> list[str]:
        """Type all of a page's blocks, in order, in a fresh folder; what was wrong, nothing if it was as the page says.

        brings: files that a reader of this page has already, and finds in that folder.
        """
        place = self.folder / "pages" / page.stem
        place.mkdir(parents=True)
        (place / "examples").symlink_to(ROOT / "examples")
        (place / "imprint-home").symlink_to(self.folder / "imprint-home")
        for file in brings:
            (place / file.name).symlink_to(file)
        wrong = []
        for block in blocks(page):
            if block.language in ("sh", "python") and not block.excuse and not block.service:
                status, printed = self.type(block, place)
                what = f"exit status {status}" if status else block.shows is not None and difference(block.shows, printed)
                if what:
                    where = f"{page.relative_to(ROOT)}, line {block.line}"
                    wrong.append(f"{where}: {what}\n$ {block.text}\n{printed[-3000:]}")
                    break
        return wrong

    def type(self, block: Block, place: Path) -> tuple[int, str]:
        """Exit status, and what a person would see."""
        text = self._elsewhere(re.sub(r'("(?:max_)?epochs": )\d+', r"\g<1>1", block.text))
        if block.language == "python":
            (place / ".script.py").write_text(text)
            text = "python .script.py"
        memory = place / ".exported"  # one terminal: what is exported stays
        text = f"[ ! -e {memory} ] || . {memory}\ntrap 'export -p >{memory}' EXIT\n{text}"
        with subprocess.Popen(
            ["bash", "-eu", "-o", "pipefail", "-c", text],
            cwd=place,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                printed, _ = shell.communicate(timeout=PATIENCE)
            except BaseException:
                os.killpg(shell.pid, signal.SIGKILL)
                raise
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, 0)
            self._beside.append(shell.pid)
        return shell.returncode, printed

    def _elsewhere(self, text: str) -> str:
        """The same with this reader's ports: those that are in the text may be in use."""

        def moved(address: re.Match[str]) -> str:
            return f"{address[1]}{self._ports.setdefault(address[2], free_port())}"

        return re.sub(r"((?:localhost:|127\.0\.0\.1:|--port ))(\d+)", moved, text)
