"""benchmarks/bulk.py at its smallest."""

import subprocess
import sys

import bulk
import images


def test_the_script_prints_a_row_for_each_count(tmp_path):
    """About 20 s: the script imports torch to export an encoder, and starts a trainer and a pool for each count."""
    (tmp_path / "jpegs").mkdir()
    images.write_jpegs(tmp_path / "jpegs", 8, 32, seed=0, classes=2)
    command = [sys.executable, bulk.__file__, str(tmp_path / "jpegs"), "--counts", "5", "70", "--size", "32"]
    ended = subprocess.run([*command, "--arch", "squeezenet1_1"], capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, ended.stderr
    head, _, _, *rows = ended.stdout.splitlines()
    assert "openvino" in head and "seed 0" in head
    cells = [[cell.strip().replace(",", "") for cell in row.split("|")[1:-1]] for row in rows]
    assert [row[0] for row in cells] == ["5", "70"] and all(row[1] == "squeezenet1_1 32 px" for row in cells)
    assert all(float(value) > 0 for row in cells for value in row[2:]) and all(float(row[5]) > 50 for row in cells)
    assert [file.name for file in tmp_path.iterdir()] == ["jpegs"], "nothing is left behind"
