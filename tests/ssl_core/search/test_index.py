"""Building, opening and searching an index, against brute force in numpy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ssl_core.search import graph
from ssl_core.search.build import build_index, others
from ssl_core.search.facts import FILES, BadVectors, IndexCorrupt, read_facts
from ssl_core.search.index import PictureIndex, WrongLength
from support.vectors import ENCODER, clustered, write_vectors

COUNT = 600
VECTORS = clustered(COUNT)
PATHS = [f"{row % 3}/ü {row}.jpg" for row in range(COUNT)]
BAD = (0, 70, 599)
GOOD = [row for row in range(COUNT) if row not in BAD]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("vectors") / "job.1", VECTORS, PATHS, bad=BAD)


@pytest.fixture(scope="module")
def built(vectors: Path) -> Path:
    build_index(vectors, vectors.parent / "index", job="job_x", data={"source": "folder", "path": "."}, threads=2)
    return vectors.parent / "index"


@pytest.fixture(scope="module")
def index(built: Path) -> PictureIndex:
    return PictureIndex.open(built)


def cosines(query: np.ndarray) -> np.ndarray:
    """Of a query to all good rows, in float64."""
    good = VECTORS[GOOD].astype(np.float64)
    return good @ query / np.linalg.norm(good, axis=1) / np.linalg.norm(query)


class TestSearch:
    @pytest.mark.parametrize("exact", [COUNT, 0], ids=["all compared", "by the graph"])
    def test_it_finds_what_brute_force_finds(self, index, exact, monkeypatch):
        monkeypatch.setattr(graph, "EXACT", exact)
        queries = clustered(50, seed=1)
        hits = 0
        for query in queries:
            true = cosines(query)
            found = index.search(query, 10)
            wanted = {PATHS[GOOD[row]] for row in np.argsort(-true)[:10]}
            hits += len(wanted & {each.path for each in found})
            by_path = dict(zip([PATHS[row] for row in GOOD], true, strict=True))
            for each in found:
                assert each.score == pytest.approx(by_path[each.path], abs=2e-3)  # float16 holds eleven bits
            assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
        assert hits / 500 >= (0.999 if exact else 0.98)  # float16 may turn two that are all but equal around

    def test_a_picture_finds_itself_first(self, index):
        for row in GOOD[::23]:
            first = index.search(VECTORS[row], 1)[0]
            assert first.path == PATHS[row] and first.score == pytest.approx(1, abs=1e-3)

    def test_pictures_without_a_vector_are_not_in_it(self, index):
        found = {each.path for each in index.search(VECTORS[1], 1000)}
        assert found == {PATHS[row] for row in GOOD} and len(index) == len(GOOD)

    def test_the_length_of_a_query_does_not_matter(self, index):
        assert index.search(VECTORS[5] * 1000, 5) == index.search(VECTORS[5], 5)

    def test_another_length_is_refused(self, index):
        with pytest.raises(WrongLength, match="has 31 numbers; this index is over vectors of 32"):
            index.search(VECTORS[0, :31], 5)

    def test_it_answers_several_threads_as_it_answers_one(self, index):
        queries = VECTORS[GOOD[:64]]
        wanted = [index.search(query, 10) for query in queries]
        wrong: list[int] = []

        def ask() -> None:
            for _ in range(5):
                wrong.extend(at for at, query in enumerate(queries) if index.search(query, 10) != wanted[at])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_an_open_index_outlives_its_files(self, vectors, tmp_path):
        build_index(vectors, tmp_path / "index")
        opened = PictureIndex.open(tmp_path / "index")
        shutil.rmtree(tmp_path / "index")
        assert opened.search(VECTORS[1], 1)[0].path == PATHS[1]


class TestBuild:
    def test_index_json_says_what_was_indexed(self, built):
        facts = read_facts(built)
        assert (facts.encoder, facts.vectors, facts.data) == (ENCODER, "job_x", {"source": "folder", "path": "."})
        assert (facts.count, facts.left_out, facts.dim) == (597, 3, 32)
        assert facts.library.startswith("usearch ") and {*facts.files} == {*FILES}
        assert facts.size_bytes == sum((built / name).stat().st_size for name in FILES)

    def test_neighbours_are_those_of_brute_force(self, index):
        unit = VECTORS[GOOD].astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        true = unit @ unit.T
        np.fill_diagonal(true, -np.inf)
        wanted = np.argsort(-true, axis=1)[:, :10]
        shared = np.mean([len(np.intersect1d(one, other)) for one, other in zip(index.rows, wanted, strict=True)])
        assert shared >= 9.8
        assert not (index.rows == np.arange(len(index))[:, None]).any()

    def test_few_pictures_have_few_neighbours(self, tmp_path):
        build_index(write_vectors(tmp_path / "job.1", VECTORS[:3], PATHS), tmp_path / "index")
        opened = PictureIndex.open(tmp_path / "index")
        assert (np.asarray(opened.rows) >= 0).sum(1).tolist() == [2, 2, 2]
        assert len(opened.search(VECTORS[0], 10)) == 3

    def test_a_picture_that_did_not_find_itself_loses_its_farthest(self):
        rows, scores = others(
            np.array([7, 8]), np.array([[7, 1, 2], [4, 5, 6]], np.int32), np.array([[1, 0.5, 0.4], [0.9, 0.8, 0.7]], np.float32)
        )
        assert rows.tolist() == [[1, 2], [4, 5]] and scores.tolist() == pytest.approx(np.array([[0.5, 0.4], [0.9, 0.8]]))

    def test_progress_is_told_to_the_end(self, vectors, tmp_path):
        said = []
        build_index(vectors, tmp_path / "index", report=lambda *about: said.append(about))
        assert ("indexing", COUNT, COUNT) in said and ("neighbours", 597, 597) in said and said[-1][0] == "saving"

    def test_vectors_that_are_not_finite_are_left_out(self, tmp_path):
        broken = VECTORS[:40].copy()
        broken[3, 5], broken[4] = np.nan, np.inf
        facts = build_index(write_vectors(tmp_path / "job.1", broken, PATHS), tmp_path / "index")
        assert (facts.count, facts.left_out) == (38, 2)

    @pytest.mark.parametrize("name", ["result.json", "part-00001.parquet"])
    def test_what_is_not_a_result_is_said(self, tmp_path, name):
        folder = write_vectors(tmp_path / "job.1", VECTORS[:100], PATHS)
        (folder / name).write_bytes(b"nothing")
        with pytest.raises(BadVectors, match=name):
            build_index(folder, tmp_path / "index")

    def test_no_vectors_at_all(self, tmp_path):
        folder = write_vectors(tmp_path / "job.1", VECTORS[:5], PATHS, bad=range(5))
        with pytest.raises(BadVectors, match="no vector: 5 pictures"):
            build_index(folder, tmp_path / "index")

    def test_as_a_process_of_its_own(self, vectors, tmp_path):
        (tmp_path / "spec.json").write_text(json.dumps({"kind": "index", "encoder": ENCODER, "vectors": "job_y"}))
        command = [sys.executable, "-m", "ssl_core", str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")]
        without = subprocess.run(command, capture_output=True, text=True)
        assert without.returncode == 4 and "--vectors" in without.stderr
        ended = subprocess.run([*command, "--vectors", str(vectors)], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert read_facts(tmp_path / "out" / "index").vectors == "job_y"
        events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
        phases = [event["phase"] for event in events if event["type"] == "phase"]
        assert phases == ["indexing", "neighbours", "saving"] and events[-1]["type"] == "finished"
        steps = [event["step"] for event in events if event["type"] == "progress"]
        assert steps == sorted(steps) and [event["fraction"] for event in events if event["type"] == "progress"][-1] == 1.0


class TestDamage:
    @pytest.fixture
    def copy(self, built: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(built, tmp_path / "copy"))

    @pytest.mark.parametrize("name", FILES)
    def test_a_flipped_byte_is_noticed(self, copy, name):
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (copy / name).write_bytes(content)
        with pytest.raises(IndexCorrupt, match=rf"{name} has changed"):
            PictureIndex.open(copy)

    @pytest.mark.parametrize("name", FILES)
    def test_a_cut_or_missing_file_is_noticed(self, copy, name):
        with (copy / name).open("r+b") as file:
            file.truncate(10)
        with pytest.raises(IndexCorrupt, match=rf"{name} has 10 bytes"):
            PictureIndex.open(copy)
        (copy / name).unlink()
        with pytest.raises(IndexCorrupt, match=rf"{name} is missing"):
            PictureIndex.open(copy)

    def test_index_json_that_is_none(self, copy):
        (copy / "index.json").write_text("{}")
        with pytest.raises(IndexCorrupt, match="build the index again"):
            PictureIndex.open(copy)
