"""benchmarks/ann.py at its smallest, and the exact search that the others are judged by."""

import importlib.util
import subprocess
import sys

import ann
import ann_child
import numpy as np
from ann_libraries import CHUNK, LIBRARIES, exact


def test_the_script_prints_a_row_for_each_library(tmp_path):
    """About 10 s: two processes for each of the libraries that are installed."""
    command = [sys.executable, ann.__file__, "--count", "2000", "--dim", "24", "--queries", "20", "--folder", str(tmp_path)]
    ended = subprocess.run([*command, "--only", "exact", "--only", "HNSW"], capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, ended.stderr
    assert "seed 0" in ended.stdout.splitlines()[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line.startswith("|")]
    measured: dict[str, list[float]] = {}
    name = ""
    for row in rows[2:]:
        name = row[0] or name
        if row[1] == "not installed":
            assert importlib.util.find_spec(LIBRARIES[name][0]) is None
            continue
        measured.setdefault(name, []).append(float(row[7]))
    assert measured["exact f32"] == [1.0]
    assert len(measured["usearch HNSW f16"]) == 3 and min(measured["usearch HNSW f16"]) > 0.9
    assert list(tmp_path.iterdir()) == []


def test_exact_search_is_a_sort_of_all_cosines():
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((n, 3)).astype(np.float32) for n in (CHUNK + 70, 5))
    wanted = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :10]
    assert (exact(vectors, queries, 10) == wanted).all()


def test_recall_counts_what_was_found_in_any_order():
    assert ann_child.recall(np.array([[3, 1, 9], [4, 5, 6]]), np.array([[1, 2, 3], [6, 5, 4]])) == 5 / 6
