"""serving.py, soak.py and beside.py from end to end at their smallest; each starts real servers and takes 20 to 60 s."""

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import load
import measure
import pytest
import soak
from load import Load, as_json, multipart, put_load

SMALL = ["--arch", "squeezenet1_1", "--size", "64"]


def script(name, *arguments):
    """The lines that a script printed on stdout."""
    command = [sys.executable, str(measure.ROOT / "benchmarks" / name), *SMALL, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def cells(lines):
    """Rows of the tables that were printed, headers and rules left out."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return [row for row, follows in zip(rows, [*rows[1:], []], strict=True) if "---" not in (row[0], *follows[:1])]


def test_serving_compares_ours_with_each_peer():
    lines = script("serving.py", "--clients", "1,2", "--rounds", "1", "--seconds", "0.5", "--only", "naive;litserve, batched")
    rows = cells(lines)
    assert [row[:3] for row in rows[:9]] == [
        [clients, photos, name]
        for clients, photos in (("1", "1"), ("2", "1"), ("1", "32"))
        for name in ("naive", "litserve, batched", "ours")
    ]
    for row in rows[:9]:
        assert float(row[3]) > 0 and 0 < float(row[4]) <= float(row[5]) and row[6] == "0"
    for peer, ours in ((rows[0], rows[2]), (rows[1], rows[2])):
        assert float(peer[7]) == pytest.approx(float(ours[3]) / float(peer[3]), rel=0.02)
    assert len(rows) == 11 and "p50 at one client" in rows[9][3] and rows[10][3].endswith("%")


def test_soak_counts_failures_and_memory():
    lines = script("soak.py", "--minutes", "0.1", "--clients", "4", "--encoders", "3", "--room", "1")
    many, one = cells(lines)
    assert many[:2] == ["4", "every encoder in turn"] and one[:2] == ["1", "the alias that moves"]
    assert int(many[3]) > 0 and int(one[3]) > 0 and many[4] == one[4] == "0"
    loaded = int(lines[2].split("loaded ")[1].split(" ")[0])
    assert loaded > 3, "three encoders with room for one are loaded again and again"
    assert any(line.startswith("After the first they lie") for line in lines)


def test_beside_measures_with_and_without_a_job():
    rows = cells(script("beside.py", "--seconds", "1", "--rounds", "1"))
    assert [row[:2] for row in rows] == [
        [state, what] for state in ("idle", "training") for what in ("POST /embed, one client", "GET /jobs/<id>")
    ]
    assert all(float(row[2]) > 0 and row[4] == "0" for row in rows)
    for idle, busy in zip(rows[:2], rows[2:], strict=True):
        assert float(busy[5]) == pytest.approx(float(busy[3]) / float(idle[3]), rel=0.03)


def test_memory_is_flat_or_not():
    steady = [(second, 100.0) for second in range(180)]
    assert soak.by_minute(steady, 3) == [100.0] * 3
    assert soak.swing([50.0, 100.0, 100.0]) == 0, "the first minute is the start"
    assert soak.swing([0.0, 98.0, 102.0]) == pytest.approx(0.04)
    assert measure.resident(os.getpid()) > 20e6


def test_a_load_s_figures():
    seen = Load(10.0, [number / 1000 for number in range(1, 101)])
    assert seen.median == pytest.approx(50.5) and seen.percentile(99) == pytest.approx(100)


class _Server(BaseHTTPRequestHandler):
    """Answers 200, but 503 to every third request; remembers the bodies."""

    protocol_version = "HTTP/1.1"
    bodies: ClassVar[list] = []

    def do_POST(self):
        self.bodies.append((self.path, self.headers["content-type"], self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(503 if len(self.bodies) % 3 == 0 else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Nothing."""


def test_the_load_sends_whole_requests_and_counts_failures(tmp_path):
    photos = []
    for number in range(3):
        photos.append(tmp_path / f"{number}.jpg")
        photos[-1].write_bytes(b"\xff\xd8" + bytes([number]) * 100)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        seen = put_load(server.server_address[1], photos, 2, 1, 0.5, 0.1, "/embed", ["a", "b"])
        several = load._requests([str(each) for each in photos], 2, "/embed", [])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert seen.failed > 0 and len(seen.seconds) > 0
    assert seen.failed / (seen.failed + len(seen.seconds)) == pytest.approx(1 / 3, abs=0.1)
    known = {multipart([photo.read_bytes()]) for photo in photos}
    assert {(kind, body) for _, kind, body in _Server.bodies} == known
    assert {path for path, _, _ in _Server.bodies} <= {"/embed?encoder=a", "/embed?encoder=b"}
    head, body = several[0].split(b"\r\n\r\n", 1)
    assert b"application/json" in head and body == as_json([photo.read_bytes() for photo in photos[:2]])[1]
    assert len(json.loads(body)["images"]) == 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(measure.Failed):
            put_load(free.getsockname()[1], photos, 1, 1, 0.2, 0.0, "/embed")
