"""Checkpoints of a few bytes that would take memory or time without end."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import zipfile

import pytest

from ssl_core.importing.checkpoint import Checkpoint, plain
from ssl_core.importing.pickles import Refused

BOUNDED = """
import resource, sys
from pathlib import Path
from ssl_core.importing.checkpoint import Checkpoint
from ssl_core.importing.pickles import Refused

most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 3 * 2**30,) * 2)
spent = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
resource.setrlimit(resource.RLIMIT_CPU, (spent + 3, spent + 3))
try:
    Checkpoint(Path(sys.argv[1]))
except Refused as refused:
    print(refused)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most) // 2**10
assert grown < 200, f"{grown} MiB"
"""

NAMED = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORED = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuK\1tQ"
BOMBS = {
    # A length of 1 GiB is believed, and its memory taken, before anything is read.
    "length": (b"\x80\x05\x96" + (2**30).to_bytes(8, "little") + b"x.", "damaged"),
    # A list of 2,000 is copied 4,000 times, for a few bytes each.
    "copies": (b"]q\0(" + b"K\1" * 2000 + b"e0ctorch\nSize\nq\1" + b"0h\1h\0\x85R" * 4000 + b".", "copies more"),
    # Tuples in tuples have hashes that take twice as long with each level.
    "hash": (b"}K\1" + b"q\0h\0\x86" * 80 + b"K\1s.", "with a tuple as a key"),
    # A number of 100,000 digits, hashed each time.
    "number": (b"}\x8b" + (40_000).to_bytes(4, "little") + bytes(39_999) + b"\1" + b"K\1s.", "with a int as a key"),
    # A tensor of a million dimensions of 255 each.
    "dimensions": (
        NAMED + b"(" + STORED + b"K\0(" + b"K\xff" * 10**6 + b"t(" + b"K\0" * 10**6 + b"ttR.",
        "is damaged",
    ),
    # A text of 100,000 letters becomes so many values, 2,000 times.
    "texts": (
        b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000 + b"q\0ctorch\nSize\nq\1" + b"0h\1h\0\x85R" * 2000 + b".",
        "damaged",
    ),
    # A name of a million letters is kept 2,500 times.
    "names": (
        b"\x8d"
        + (10**6).to_bytes(8, "little")
        + b"pytorch_lightning.callbacks."
        + b"a" * (10**6 - 28)
        + b"q\0X\1\0\0\0aq\1"
        + b"h\0h\1\x93" * 2500
        + b".",
        "endless name",
    ),
    # One byte makes a set of 216.
    "sets": (b"\x8f" * 8_000_000 + b".", "more lists, dicts and sets"),
    # Pairs of numbers can be chosen so that all have the same hash.
    "pairs": (b"}(K\1K\2\x86Nu.", "with a tuple as a key"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_take_little(tmp_path, name):
    """A process reads each to its refusal in less than three seconds of the processor, and in less than 200 MiB."""
    program, why = BOMBS[name]
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", program)
    done = subprocess.run([sys.executable, "-c", BOUNDED, tmp_path / "bomb.ckpt"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and why in done.stdout, done.stdout + done.stderr


def test_a_zip_of_millions_of_entries(tmp_path):
    """Its directory is not even read."""
    count = 3_000_000
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, 50 * count, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 50 * count, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with (tmp_path / "bomb.ckpt").open("wb") as file:
        file.truncate(50 * count)
        file.seek(0, 2)
        file.write(end64 + locator + end)
    with pytest.raises(Refused, match=r"none that torch\.save wrote"):
        Checkpoint(tmp_path / "bomb.ckpt")


def test_texts_that_are_told_a_thousand_times():
    text = "a" * 100_000
    told = plain({str(key): [text] * 990 for key in range(10)})
    assert len(json.dumps(told)) < 1_000_000 and told["0"][0] == "a" * 1000 + "…"


def test_hyper_parameters_that_hold_each_other():
    """A thousand times a list that holds a thousand times a list …: ten thousand values of it."""
    nested: list[object] = [1]
    for _ in range(7):
        nested = [nested] * 1000
    assert len(json.dumps(plain({"a": nested, "n": 10**30, 3: "x"}))) < 1_000_000
    assert plain({"a": [1, 2.5, None, {"b": (True,)}], 3: math.inf}) == {"a": [1, 2.5, None, {"b": [True]}], "3": None}
