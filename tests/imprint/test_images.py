"""Images on their way out, and vectors on their way to files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imprint import fewshot, images, vectors
from imprint.errors import UsageError
from imprint.flow import run
from imprint.records import Embedded
from imprint.transport import Transport


class TestFind:
    def test_folders_give_their_images_sorted_and_files_are_taken_as_they_are(self, tmp_path: Path) -> None:
        for name in ("b.PNG", "a.jpg", "notes.txt", "deep/c.webp", ".hidden/d.png", ".e.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [str(path.relative_to(tmp_path)) for path in images.find([tmp_path])] == ["a.jpg", "b.PNG", "deep/c.webp"]
        assert images.find([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]

    def test_says_what_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no file or folder"):
            images.find([tmp_path / "nothing"])
        with pytest.raises(UsageError, match="no images"):
            images.find([tmp_path])


def batches(given: Sequence[images.Image], size: int, most_bytes: int) -> list[list[images.Read]]:
    """All of them, read by this thread."""
    numbered, found = enumerate(given), []
    transport = Transport("http://127.0.0.1:9", None, 1)
    while batch := run(images.batch(numbered, size, most_bytes), transport.performer()):
        found.append(batch)
    transport.close()
    return found


class TestBatches:
    def test_keep_the_order_and_both_limits(self) -> None:
        given = [bytes([number]) * 10 for number in range(7)]
        by_count = batches(given, 3, 10**6)
        assert [len(batch) for batch in by_count] == [3, 3, 1]
        assert [content for batch in by_count for _, content in batch] == given
        assert [name for batch in by_count for name, _ in batch] == [f"image-{number}" for number in range(7)]
        assert [len(batch) for batch in batches(given, 100, 25)] == [3, 3, 1]  # with the third they have 25 bytes
        assert [len(batch) for batch in batches(given[:2], 100, 5)] == [1, 1]

    def test_an_unreadable_path_keeps_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"a")
        [batch] = batches([tmp_path / "a.png", tmp_path / "gone.png", b"c"], 10, 100)
        assert [isinstance(content, UsageError) for _, content in batch] == [False, True, False]
        assert "gone.png" in str(batch[1][1])

    def test_pil_images_become_lossless_files(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        _, content = images.read(Image.fromarray(pixels), 0)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)

    def test_anything_else_is_refused_by_type(self) -> None:
        with pytest.raises(UsageError, match="image 3 is a int"):
            images.read(7, 3)  # type: ignore[arg-type]


GOOD = [Embedded("a.png", np.array([1, 2], dtype=np.float32)), Embedded("odd\nname.png", np.array([3, 4], dtype=np.float32))]
BAD = [Embedded("c.png", None, "not an image")]


class TestVectors:
    def test_npy_has_a_row_for_each_line_of_names(self, tmp_path: Path) -> None:
        npy, names = vectors.write(tmp_path / "out.npy", GOOD, BAD, "enc_1")
        assert np.load(npy).tolist() == [[1, 2], [3, 4]] and np.load(npy).dtype == np.float32
        assert names.name == "out.names.txt"
        assert names.read_text().splitlines() == ["a.png", "odd\\nname.png"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.names.txt", "out.npy"]

    def test_json_says_what_was_left_out(self, tmp_path: Path) -> None:
        [path] = vectors.write(tmp_path / "out.json", GOOD, BAD, "enc_1")
        body = json.loads(path.read_text())
        assert body["encoder"] == "enc_1" and body["dim"] == 2
        assert body["data"][1] == {"file": "odd\nname.png", "embedding": [3.0, 4.0]}
        assert body["errors"] == [{"file": "c.png", "error": "not an image"}]

    @pytest.mark.parametrize("name", ["out.csv", "nowhere/out.npy"])
    def test_an_impossible_output_is_refused_before_any_work(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError):
            vectors.check_output(tmp_path / name)


class TestFewShot:
    def test_separated_classes_are_all_right_and_swapped_labels_all_wrong(self) -> None:
        bank = np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], dtype=np.float32)
        labels = np.array([0, 0, 1, 1])
        queries = np.array([[5, 1], [1, 5]], dtype=np.float32)
        assert fewshot.accuracy(bank, labels, queries, np.array([0, 1]), 1) == 100
        assert fewshot.accuracy(bank, labels, queries, np.array([1, 0]), 1) == 0

    def test_nearest_is_by_angle_not_by_length(self) -> None:
        bank = np.array([[100, 0], [0.6, 0.8]], dtype=np.float32)
        query = np.array([[1.0, 0.1]], dtype=np.float32)  # points along the first, lies nearer to the second
        assert fewshot.accuracy(bank, np.array([0, 1]), query, np.array([0]), 1) == 100

    def test_chance_on_noise(self) -> None:
        random = np.random.default_rng(0)
        bank, queries = (random.normal(size=(400, 16)).astype(np.float32) for _ in range(2))
        labels = np.arange(400) % 4
        assert 20 < fewshot.accuracy(bank, labels, queries, labels, 5) < 30
