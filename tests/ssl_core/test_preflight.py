"""What is refused and what is warned of before a run is queued."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_core.preflight import Problem, check
from ssl_core.spec import TrainSpec


def spec(**sections: Any) -> TrainSpec:
    return TrainSpec.model_validate({"data": {"source": "digits"}, **sections})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(30):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"photos/{i}.png")
    return tmp_path


def test_the_smallest_spec_passes(tmp_path: Path) -> None:
    found = check(spec(), tmp_path)
    assert found.ok and found.facts is not None and found.warnings == []
    assert found.estimate["steps_per_epoch"] == 1437 // 256
    assert found.estimate["steps_total"] == 5 * 100
    assert found.estimate["memory_bytes"] == 1437 * 3 * 32 * 32 and found.estimate["in_memory"]


def test_batch_larger_than_the_dataset(tmp_path: Path) -> None:
    found = check(spec(trainer={"batch_size": 2048}), tmp_path)
    assert found.problems == [
        Problem("/trainer/batch_size", "batch_size = 2,048 is larger than the 1,437 training images; use at most 1,437.")
    ]


@pytest.mark.parametrize(
    ("encoder", "size", "pointer", "words"),
    [
        ({"arch": "inception_v3"}, 32, "/data/size", "cannot take images of 32 px; the smallest that works is 75"),
        ({"arch": "alexnet"}, 62, "/data/size", "the smallest that works is 63"),
        ({"arch": "vit_b_16"}, 40, "/data/size", "needs a multiple of 16 px, not 40: use 32 or 48"),
        ({"arch": "vit_h_14"}, 12, "/data/size", "not 12: use 14"),
        ({"arch": "maxvit_t"}, 100, "/data/size", "use 96 or 128"),
        ({"arch": "vit_b_16", "stem": "cifar"}, 32, "/encoder/stem", "is for ResNets"),
    ],
)
def test_networks_that_refuse_the_size_are_told_before_anything_is_queued(
    tmp_path: Path, encoder: dict[str, str], size: int, pointer: str, words: str
) -> None:
    found = check(spec(data={"source": "digits", "size": size}, encoder=encoder), tmp_path)
    assert [problem.pointer for problem in found.problems] == [pointer] and words in found.problems[0].detail


@pytest.mark.parametrize(
    ("arch", "size"), [("inception_v3", 75), ("vit_b_16", 32), ("vit_h_14", 224), ("timm/vit_tiny_patch16_224", 40)]
)
def test_networks_that_take_the_size_pass(tmp_path: Path, arch: str, size: int) -> None:
    assert check(spec(data={"source": "digits", "size": size}, encoder={"arch": arch}), tmp_path).ok


def test_missing_data_is_a_problem_with_a_hint(photos: Path) -> None:
    found = check(spec(data={"source": "folder", "path": "fotos"}), photos)
    assert found.facts is None and not found.ok
    assert found.problems[0].pointer == "/data/path"
    assert "'fotos'" in found.problems[0].detail and "photos" in found.problems[0].detail


def test_link_out_of_the_data_root(photos: Path) -> None:
    root = photos / "root"
    root.mkdir()
    (root / "photos").symlink_to(photos / "photos")
    found = check(spec(data={"source": "folder", "path": "photos"}), root)
    assert "leads out of the data root" in found.problems[0].detail


def test_missing_archives(tmp_path: Path) -> None:
    for source in ("cifar10", "stl10", "imagenet"):
        assert check(spec(data={"source": source}), tmp_path).problems[0].pointer == "/data/path"
    assert check(spec(data={"source": "cifar10", "download": True}), tmp_path).ok


def test_unknown_timm_model_and_missing_data_are_told_together(tmp_path: Path) -> None:
    found = check(spec(encoder={"arch": "timm/vit_tiny_patch16_225"}, data={"source": "folder", "path": "no"}), tmp_path)
    assert [problem.pointer for problem in found.problems] == ["/encoder/arch", "/data/path"]
    assert "did you mean 'vit_tiny_patch16_224'" in found.problems[0].detail
    assert check(spec(encoder={"arch": "timm/vit_tiny_patch16_224"}), tmp_path).ok


def test_warnings(photos: Path) -> None:
    folder = {"source": "folder", "path": "photos"}
    few = check(spec(data={**folder, "size": 128}, trainer={"batch_size": 8}, method={"name": "moco"}), photos)
    assert few.ok
    text = "\n".join(few.warnings)
    for words in (
        "There are no labels",
        "images are few",
        "50×40 px are scaled up to 128",
        "queue_size 65,536 is larger",
    ):
        assert words in text
    assert "shuffle_bn" not in text
    split = {"name": "moco", "queue_size": 8, "branches": {"shuffle_bn": True}}
    assert any("shuffle_bn" in each for each in check(spec(trainer={"batch_size": 12}, method=split), photos).warnings)
    late = check(spec(optim={"warmup_epochs": 100}, trainer={"batch_size": 32}), photos).warnings
    assert any("warmup_epochs 100" in each for each in late) and any("batch_size 32 gives few" in each for each in late)


def test_unreadable_images_are_a_problem(photos: Path) -> None:
    for file in (photos / "photos").iterdir():
        file.write_bytes(b"not an image")
    found = check(spec(data={"source": "folder", "path": "photos"}, trainer={"batch_size": 4}), photos)
    assert [problem.pointer for problem in found.problems] == ["/data/path"]


def test_estimate_of_streaming(photos: Path) -> None:
    data = {"source": "folder", "path": "photos", "in_memory": "never", "size": 96}
    found = check(spec(data=data, trainer={"batch_size": 4}), photos)
    assert not found.estimate["in_memory"] and found.estimate["memory_bytes"] == 16 * 3 * 110 * 110


def test_importing_and_checking_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import ssl_core.preflight; assert 'torch' not in sys.modules\n"
        "from ssl_core.spec import TrainSpec\n"
        f"found = ssl_core.preflight.check(TrainSpec(data={{'source': 'digits'}}), Path({str(tmp_path)!r}))\n"
        "assert found.ok and not {'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_with_local_views_patches_must_fill_the_image(tmp_path: Path) -> None:
    """Without them a rest is cut off."""
    network = {"data": {"source": "digits", "size": 40}, "encoder": {"arch": "timm/vit_tiny_patch16_224"}}
    assert check(spec(**network), tmp_path).ok
    found = check(spec(**network, augment={"local_views": {"count": 1}}), tmp_path)
    assert found.problems == [Problem("/data/size", "timm/vit_tiny_patch16_224 needs a multiple of 16 px, not 40: use 32 or 48")]


def test_small_batches_of_methods_that_look_across_them_are_warned_of(tmp_path: Path) -> None:
    few = check(spec(method={"name": "mocov3"}, trainer={"batch_size": 32}), tmp_path).warnings
    assert any("MoCo v3 takes its negatives from the batch, and batch_size 32 gives few" in each for each in few)
    method = {"name": "swav", "prototypes": 300}
    shared = {queue: check(spec(method={**method, "queue_size": queue}), tmp_path).warnings for queue in (0, 100)}
    assert any("shares 300 prototypes out over 256 rows" in each for each in shared[0]) and shared[100] == []
