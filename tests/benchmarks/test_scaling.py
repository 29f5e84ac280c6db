"""benchmarks/scaling.py at its smallest, and its figures of memory against memory that is really taken."""

import json
import os
import subprocess
import sys

import measure
import scaling

MB = 10**6


def test_the_script_prints_its_tables_and_removes_what_it_made(tmp_path):
    """About 15 s: four processes that import torch."""
    command = [sys.executable, str(measure.ROOT / "benchmarks/scaling.py"), "--folder", str(tmp_path), "--counts", "40",
               "--ranks", "", "--batch", "8", "--batches", "2", "--workers", "1"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=170, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0 and "failed" not in ended.stderr, ended.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line.startswith("| ")]
    scans, passes = ([row for row in rows if len(row) == width and row[0][0].isdigit()] for width in (5, 7))
    assert [row[0] for row in scans] == ["40"]
    assert [row[1] for row in passes] == [*scaling.SOURCES]
    assert all(float(row[4]) > 0 for row in passes), "views take time"
    assert list(tmp_path.iterdir()) == []


def test_files_are_links_or_their_own(tmp_path):
    pictures = [tmp_path / f"{number}.jpg" for number in range(3)]
    for number, picture in enumerate(pictures):
        picture.write_bytes(bytes([number]))
    for copies, links in ((False, [4, 3, 3, 4, 3, 3, 4]), (True, [1] * 7)):
        folder = tmp_path / f"{copies}"
        scaling.make_files(folder, pictures, 7, copies)
        made = sorted(folder.rglob("*.jpg"))
        assert [file.read_bytes()[0] for file in made] == [0, 1, 2, 0, 1, 2, 0]
        assert [file.stat().st_nlink for file in made] == links
    assert not list(tmp_path.glob("*.partial"))


TAKES_MEMORY = """
import json, mmap, multiprocessing, sys
import scaling_child

MB = 10**6
with open(sys.argv[1], "rb") as file, scaling_child.Memory() as memory:
    taken = bytearray(b"x") * (40 * MB)
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert sum(mapped[:: mmap.PAGESIZE]) == 0
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def child():
        more = bytearray(b"y") * (50 * MB)
        ready.set()
        done.wait(30)
        assert more and taken

    process = context.Process(target=child)
    process.start()
    assert ready.wait(30)
    memory._done.wait(3 * scaling_child.SAMPLE_SECONDS)
    done.set()
    process.join(30)
assert process.exitcode == 0
print(json.dumps(memory.peaks))
"""


def test_memory_is_that_of_all_processes_and_shared_pages_count_once(tmp_path):
    """In a process of its own: after a fork, a large one copies pages that it only counts references in."""
    (tmp_path / "file").write_bytes(bytes(30 * MB))
    ended = python(TAKES_MEMORY, tmp_path / "file")
    peaks = json.loads(ended.stdout)
    assert 85 * MB < peaks["anonymous"] < 110 * MB  # 40 + 50, and what the processes take beside
    assert 29 * MB < peaks["mapped"] < 45 * MB


def python(code, *arguments):
    """Runs it beside the scripts."""
    environment = {**os.environ, "PYTHONPATH": str(measure.ROOT / "benchmarks")}
    ended = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_a_scan_is_measured_without_torch(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(500):
            (tmp_path / "p" / name / f"{number}.jpg").touch()
    code = (
        "import json, sys, scaling_child; print(json.dumps(scaling_child.scan(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    got = json.loads(python(code, tmp_path / "p").stdout)
    assert got["images"] == 1000 and got["seconds"] > 0 and 0 <= got["kept_mb"] < 5 and got["peak_mb"] < 10
