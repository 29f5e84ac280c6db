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
