"""The demo's promise to leave nothing behind, and its images."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imprint import demo


def test_the_images_are_the_split_that_training_uses() -> None:
    digits = demo.Digits.load()
    assert (len(digits.bank), len(digits.queries)) == (1437, 360)
    assert set(digits.query_labels.tolist()) == set(range(10))
    assert not {*digits.bank} & {*digits.queries}  # no picture is both known and asked about
    first = np.asarray(Image.open(io.BytesIO(digits.bank[0])))
    assert first.shape == (32, 32, 3)
    assert np.allclose(first[..., 0].ravel() / 255, digits.pixels[0][0])


def _as_from_a_terminal() -> None:
    """Tests that a shell started in the background inherit that Ctrl-C is ignored; a person at a terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """The broker's socket lies below it, and a socket's path may have a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(short_path: Path, number: signal.Signals) -> None:
    log = short_path / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "imprint.demo"],
            env={**os.environ, "TMPDIR": str(short_path)},
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_as_from_a_terminal,
        )
    try:
        deadline = time.monotonic() + 60
        while "Training" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None and of_this_demo(short_path), log.read_text()
        process.send_signal(number)
        assert process.wait(60) == 130, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert of_this_demo(short_path) == []
    assert list(short_path.glob("imprint-*")) == []


def of_this_demo(folder: Path) -> list[str]:
    """Command lines of processes that mention the demo's temporary folder: the service, its children, their trainer."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if process.name != str(os.getpid()) and (f"{folder}/" in command or f"IMPRINT_HOME={folder}/" in where):
            found.append(command)
    return found
