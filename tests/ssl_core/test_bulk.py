"""A folder to Parquet: the command itself as a process, its kills and its stops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ssl_core.bulk.pictures import BATCH, Pictures
from ssl_core.bulk.plan import earlier_plan, make_plan
from ssl_core.data.scan import scan
from ssl_core.embedder import Embedder
from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import FolderData, TrainSpec
from support.processes import eventually

COUNT, SHARD = 300, 70
STATISTICS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """ResNet-18 for 32 px, of a short side of 40, with random weights."""
    built = build_encoder("resnet18", 32, "imagenet").eval()
    spec = TrainSpec(data=FolderData(path="p", size=32, **STATISTICS))
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    facts = {"images": 40, "fingerprint": "sha256:0", "short_side": 40}
    return export_encoder(built, spec, facts, {}, tmp_path_factory.mktemp("encoder"), images)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with root/photos: pictures in three folders, one of them broken, one with an odd name."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(1)
    for number in range(COUNT):
        folder = root / "photos" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(12, 0).repeat(14, 1)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg")
    (root / "photos" / "b" / "004.jpg").write_bytes(b"no picture")
    (root / "photos" / "a" / "000.jpg").rename(root / "photos" / "a" / "Fuß\n.jpg")
    return root


def command(out, root, encoder, *more, **spec):
    path = out.parent / f"{out.name}.json"
    path.write_text(json.dumps({
        "kind": "embed", "encoder": "enc_1", "data": {"source": "folder", "path": "photos"}, "shard_images": SHARD, **spec,
    }))  # fmt: skip
    words = [sys.executable, "-m", "ssl_core", str(path), "--out", str(out), "--data-root", str(root), "--encoder", str(encoder)]
    return [*words, *map(str, more)]


def run(*arguments, **spec):
    return subprocess.run(command(*arguments, **spec), capture_output=True, text=True, timeout=120)


def said(out, type_):
    return [event for event in map(json.loads, (out / "events.jsonl").read_text().splitlines()) if event["type"] == type_]


def parts(folder):
    return sorted(folder.glob("vectors/part-*.parquet"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, root, encoder):
    """The folder of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "1"
    done = run(out, root, encoder)
    assert done.returncode == 0, done.stderr
    return out


def rows_of(folder):
    return [row for part in parts(folder) for row in pq.read_table(part).to_pylist()]


class TestResult:
    def test_every_picture_has_a_row_in_the_order_of_its_path(self, whole, root):
        rows = rows_of(whole)
        photos = root / "photos"
        assert [row["path"] for row in rows] == sorted(str(file.relative_to(photos)) for file in photos.rglob("*.jpg"))
        assert [pq.read_metadata(part).num_rows for part in parts(whole)] == [70, 70, 70, 70, 20]
        assert said(whole, "finished") and not said(whole, "warning")

    def test_vectors_are_the_embedders_own(self, whole, root, encoder):
        embedder = Embedder.load(encoder)
        good = [row for row in rows_of(whole) if row["error"] is None]
        expected = embedder.embed_images([root / "photos" / row["path"] for row in good])
        np.testing.assert_allclose([row["embedding"] for row in good], expected, rtol=1e-4, atol=1e-5)
        assert np.linalg.norm(expected - expected.mean(0), axis=1).min() > 1e-3, "all look the same: the order could not be told"

    def test_a_broken_picture_is_a_row_with_its_reason(self, whole):
        [bad] = [row for row in rows_of(whole) if row["error"] is not None]
        assert bad["path"] == "b/004.jpg" and bad["embedding"] is None and "not a picture" in bad["error"]
        assert said(whole, "data")[-1]["unreadable_examples"] == [["b/004.jpg", bad["error"]]]

    def test_columns_and_metadata(self, whole, encoder):
        schema = pq.read_schema(parts(whole)[0])
        assert [str(field.type) for field in schema] == ["string", "fixed_size_list<element: float>[512]", "string"]
        manifest = json.loads((encoder / "manifest.json").read_bytes())
        about = {name.decode(): value.decode() for name, value in schema.metadata.items()}
        assert about == {"encoder": "enc_1", "sha256": manifest["sha256"], "dimension": "512", "normalize": "false"}

    def test_what_result_json_says_is_true(self, whole):
        result = json.loads((whole / "vectors" / "result.json").read_bytes())
        assert (result["images"], result["errors"], result["dim"], result["dtype"]) == (COUNT, 1, 512, "float32")
        assert [shard["file"] for shard in result["shards"]] == [part.name for part in parts(whole)]
        assert result["size_bytes"] == sum(part.stat().st_size for part in parts(whole))

    def test_fewer_dimensions_of_length_one(self, tmp_path, root, encoder, whole):
        assert run(tmp_path / "1", root, encoder, normalize=True, dimensions=8).returncode == 0
        embedder = Embedder.load(encoder)
        full = [np.float32(row["embedding"]) for row in rows_of(whole) if row["error"] is None]
        expected = embedder.projection(np.stack(full), 8)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = [row["embedding"] for row in rows_of(tmp_path / "1") if row["error"] is None]
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_torch_is_not_imported(self, tmp_path, root, encoder):
        words = command(tmp_path / "1", root, encoder)
        code = "import runpy, sys; sys.argv[:] = sys.argv[1:]\ntry: runpy.run_module('ssl_core', run_name='__main__')\n"
        code += "except SystemExit: pass\nprint('torch' in sys.modules, 'openvino' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code, "ssl_core", *words[3:]], capture_output=True, text=True, timeout=120)
        assert done.stdout.split() == ["False", "True"], done.stderr


class TestRefused:
    def test_too_many_dimensions(self, tmp_path, root, encoder):
        done = run(tmp_path / "1", root, encoder, dimensions=40)
        assert (
            done.returncode == 4
            and "dimensions = 40; this encoder can give 1 to 39" in said(tmp_path / "1", "error")[0]["message"]
        )

    def test_a_folder_without_pictures(self, tmp_path, encoder):
        (tmp_path / "data" / "photos").mkdir(parents=True)
        done = run(tmp_path / "1", tmp_path / "data", encoder)
        assert done.returncode == 4 and "holds no images" in said(tmp_path / "1", "error")[0]["message"]

    def test_a_source_without_files(self, tmp_path, root, encoder):
        done = run(tmp_path / "1", root, encoder, data={"source": "digits"})
        assert done.returncode == 4 and "not files of their own" in said(tmp_path / "1", "error")[0]["message"]

    def test_a_damaged_encoder(self, tmp_path, root, encoder):
        done = run(tmp_path / "1", root, tmp_path)
        assert done.returncode == 4 and said(tmp_path / "1", "error")[0]["code"] == "encoder_error"


def interrupted(out, root, encoder, number, site):
    """A run, slowed down, that gets a signal when its first shard is whole; its exit status."""
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import PIL.Image, time\nopened = PIL.Image.open\n"
        "def slow(fp, *more, **named):\n    time.sleep(0.02)\n    return opened(fp, *more, **named)\n"
        "PIL.Image.open = slow\n"
    )
    slow = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command(out, root, encoder), stderr=subprocess.DEVNULL, env=slow)
    try:
        eventually((out / "vectors" / "part-00000.parquet").exists, "the first shard", 60)
        process.send_signal(number)
        return process.wait(30)
    finally:
        process.kill()
        process.wait()


class TestResume:
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 3)])
    def test_goes_on_after_the_last_whole_shard(self, tmp_path, root, encoder, whole, number, status):
        first, second = tmp_path / "1", tmp_path / "2"
        assert interrupted(first, root, encoder, number, tmp_path / "site") == status
        kept = parts(first)
        assert 1 <= len(kept) < 5
        extra = root / "photos" / "0-new.jpg"  # a folder that changes meanwhile must not shift the rows
        extra.write_bytes((root / "photos" / "c" / "002.jpg").read_bytes())
        try:
            done = run(second, root, encoder, "--resume", first)
        finally:
            extra.unlink()
        assert done.returncode == 0, done.stderr
        assert [event["step"] for event in said(second, "resumed")] == [len(kept) * SHARD]
        assert said(second, "checkpoint")[0]["file"] == f"part-0000{len(kept)}.parquet"
        assert [part.read_bytes() for part in parts(second)] == [part.read_bytes() for part in parts(whole)]
        assert (second / "vectors/result.json").read_bytes() == (whole / "vectors/result.json").read_bytes()

    def test_a_torn_shard_and_one_of_other_vectors_are_done_again(self, tmp_path, root, encoder, whole):
        first, second = tmp_path / "1", tmp_path / "2"
        (first / "vectors").mkdir(parents=True)
        for name in ("files", "plan.json", "part-00000.parquet", "part-00001.parquet"):
            os.link(whole / "vectors" / name, first / "vectors" / name)
        (first / "vectors" / "part-00001.parquet").unlink()
        (first / "vectors" / "part-00001.parquet").write_bytes(parts(whole)[1].read_bytes()[:-100])
        assert run(second, root, encoder, "--resume", first).returncode == 0
        assert [event["step"] for event in said(second, "resumed")] == [SHARD]
        assert [part.read_bytes() for part in parts(second)] == [part.read_bytes() for part in parts(whole)]
        assert run(tmp_path / "3", root, encoder, "--resume", first, normalize=True).returncode == 0
        assert said(tmp_path / "3", "resumed") == []


class TestPictures:
    def test_a_file_that_kills_its_decoder_costs_itself_alone(self, root, monkeypatch, tmp_path):
        """The decoder is made to die on one file's name, as a hostile file would make it."""
        site = tmp_path / "sitecustomize.py"
        site.write_text(
            "import os, PIL.Image\nopened = PIL.Image.open\n"
            "def dies(fp, *more, **named):\n"
            "    image = opened(fp, *more, **named)\n"
            "    return image if image.size != (33, 33) else os._exit(11)\n"
            "PIL.Image.open = dies\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        photos = tmp_path / "photos"
        photos.mkdir()
        for number in range(5):
            Image.new("RGB", (33, 33) if number == 2 else (40, 40), (number * 20, 0, 0)).save(photos / f"{number}.png")
        with Pictures(photos, 16, 16, 2, bounds=str(photos)) as pictures:
            [batch] = pictures.each([[f"{number}.png" for number in range(5)]], lambda batch: batch)
            assert [error is None for error in batch.errors] == [True, True, False, True, True]
            assert "status 11" in str(batch.errors[2])
            assert [batch.pixels[at, 0, 0, 0] for at in (0, 1, 3, 4)] == [0, 20, 60, 80]

    def test_order_and_pixels_survive_a_ring_that_is_smaller_than_the_work(self, root, encoder):
        embedder = Embedder.load(encoder)
        photos = root / "photos"
        paths = [str(file.relative_to(photos)) for file in sorted(photos.rglob("*.jpg")) if file.name != "004.jpg"]
        batches = [paths[start : start + 20] for start in range(0, len(paths), 20)]
        seen = []
        with Pictures(photos, 32, 40, 2, bounds=str(photos)) as pictures:
            assert len(batches) > 2 * pictures.slots and BATCH >= 20
            copied = pictures.each(batches, lambda batch: (batch.paths, batch.pixels.copy()))
            for names, copies in copied:
                time.sleep(0.001)
                seen += zip(names, copies, strict=True)
        assert [path for path, _ in seen] == paths
        assert all(np.array_equal(pixels, embedder.preprocess(photos / path)) for path, pixels in seen)


def test_the_plan_holds_the_paths_of_one_shard_at_a_time(root, tmp_path: Path):
    found = scan(root / "photos", root)
    plan = make_plan(found, "sha256:0", 70, tmp_path)
    assert earlier_plan(tmp_path, []) == plan and plan.shards == 5
    assert [path for shard in range(5) for path in plan.paths(tmp_path, shard)] == list(found.paths)
    assert [plan.rows(shard) for shard in range(5)] == [70, 70, 70, 70, 20]
