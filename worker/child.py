"""The training process: started in a session of its own, tied to its supervisor's life, with no credentials."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

DEFAULT_COMMAND = (sys.executable, "-P", "-m", "ssl_core")

# What a trainer may know of its surroundings. Database and broker are not among it.
_ALLOWED = frozenset(
    {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "HF_HOME"}
)
_FULL = 2**20  # bytes; a disk with less is full
_ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "OMP_", "MKL_", "KMP_", "GOMP_", "TORCH_", "PYTORCH_", "TIMM_")


def environment(of: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a trainer gets."""
    return {
        name: value
        for name, value in of.items()
        if name in _ALLOWED or (name.startswith(_ALLOWED_PREFIXES) and not _secret(name))
    }


def _secret(name: str) -> bool:
    return any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "KEY"))


class Child:
    """One trainer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.killed = False  # by us, with SIGKILL

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        spec: Path,
        out: Path,
        data_root: Path,
        resume: Sequence[Path],
        env: Mapping[str, str],
        cache: Path | None = None,
        cache_bytes: int | None = None,
        more: Sequence[str] = (),
    ) -> Child:
        """Start `command SPEC --out OUT …`; what it prints goes to OUT/log.txt. Raises OSError.

        `cache`: the folder of prepared images that jobs share, at most `cache_bytes` of them (None: the trainer's default).
        `more`: what only the job's kind needs.
        """
        out.mkdir(parents=True, exist_ok=True)
        arguments = [*command, str(spec), "--out", str(out), "--data-root", str(data_root), "--parent-pipe"]
        if cache is not None:
            arguments += ["--cache", str(cache)]
        if cache is not None and cache_bytes is not None:
            arguments += ["--cache-bytes", str(cache_bytes)]
        arguments += more
        for folder in resume:
            arguments += ["--resume", str(folder)]
        with (out / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,  # its end tells the trainer that we are gone
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=out,
                env=dict(env),
                start_new_session=True,
                close_fds=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """SIGTERM to the whole group: checkpoint and exit."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group; DataLoader workers outlive their parent otherwise."""
        self.killed = True
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def close(self) -> None:
        """After its end: release the pipe and whatever the group left running."""
        if self._process.poll() is None:
            self.kill()
        else:
            self._signal(signal.SIGKILL)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def in_words(status: int) -> str:
    """An exit status as a sentence's middle."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        more = " (often the system's answer to too little memory)" if -status == signal.SIGKILL else ""
        return f"was ended by {name}{more}"
    if status == 3:
        return "was stopped by somebody else's SIGTERM"
    return f"ended with status {status}"


def log_tail(out: Path, lines: int = 12) -> str:
    """The last lines that a trainer printed."""
    try:
        with (out / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def crash(status: int, out: Path) -> dict[str, str]:
    """Why a trainer crashed, as its job's error. A full disk is named: often nothing could be written about it."""
    tail = log_tail(out)
    if os.strerror(errno.ENOSPC) in tail or shutil.disk_usage(out).free < _FULL:
        text = f"the trainer {in_words(status)}: no space is left on the disk of IMPRINT_HOME"
        return {
            "code": "disk_full",
            "message": text,
            "hint": "make room, then resume the job: it goes on from its last checkpoint",
        }
    return {"code": "crashed", "message": f"the trainer {in_words(status)}", "hint": tail}


def wait(child: Child, seconds: float, every: float = 0.05) -> bool:
    """Whether the child ended within that time."""
    deadline = time.monotonic() + seconds
    while child.poll() is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
