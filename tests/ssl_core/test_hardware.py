"""Devices: what is chosen suits the machine and the batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssl_core.data.machine import share_processors
from ssl_core.hardware import choose_devices, choose_precision


@pytest.mark.parametrize(
    ("gpus", "asked", "batch", "expected"),
    [
        (0, "auto", 256, ("cpu", 1)),
        (0, 2, 256, ("cpu", 2)),
        (8, "auto", 256, ("gpu", 8)),
        (3, "auto", 256, ("gpu", 2)),  # 256 images do not go into three equal parts
        (8, "auto", 6, ("gpu", 3)),  # two images each, so that there are batch statistics
        (8, "auto", 2, ("gpu", 1)),
        (4, "auto", 255, ("gpu", 3)),
        (4, 1, 255, ("gpu", 1)),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, gpus: int, asked: int | str, batch: int, expected: tuple[str, int]) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_devices(asked, batch) == expected  # type: ignore[arg-type]


def test_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"devices = 4, and this machine has 2: use 1 to 2"):
        choose_devices(4, 256)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx2", "32-true"), ("avx2 avx512f avx512_bf16", "bf16-mixed"), ("avx2 amx_bf16 amx_tile", "bf16-mixed")],
)
def test_auto_takes_bf16_only_where_a_cpu_multiplies_it(monkeypatch: pytest.MonkeyPatch, flags: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", lambda path: f"processor : 0\nflags : {flags}\n")
    assert choose_precision("auto") == expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")])
def test_auto_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_precision("auto") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_sleep_soon_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    share_processors()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is read from /proc")
def test_a_trainer_makes_way() -> None:
    code = "import os; from ssl_core.data.machine import make_way; make_way(); print(os.nice(0)); "
    code += "group = '/proc/self/autogroup'; print(open(group).read() if os.path.exists(group) else 'nice 10')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True, check=True)
    first, *group = done.stdout.split()
    assert first == "10" and group[-2:] == ["nice", "10"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_few_arenas_keep_what_many_threads_have_freed_together() -> None:
    """Sixteen threads allocate and free 200 blocks of 64 KB each, all at once; memory maps of heaps (64 MB apart) are counted."""
    code = (
        "import ctypes, re, sys, threading\n"
        "from ssl_core.data.machine import few_arenas\n"
        "assert sys.argv[1] == 'many' or few_arenas()\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]\n"
        "meet = threading.Barrier(16)\n"
        "def work():\n"
        "    meet.wait(); blocks = [libc.malloc(65536) for _ in range(200)]; meet.wait()\n"
        "    for block in blocks: libc.free(block)\n"
        "threads = [threading.Thread(target=work) for _ in range(16)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]\n"
        "print(len(re.findall(r'^[0-9a-f]+[4c]000000-', open('/proc/self/maps').read(), re.M)))\n"
    )
    many, few = (
        int(subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True).stdout)
        for name in ("many", "few")
    )
    assert few <= 2 < many
