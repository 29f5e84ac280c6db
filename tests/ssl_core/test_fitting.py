"""The largest batch that fits: the search, the rule for CPUs, and a run that really runs out of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_core.events import Events
from ssl_core.fitting import FILE, by_rule, is_out_of_memory, largest_that_fits, with_batch_size
from ssl_core.preflight import check
from ssl_core.presets import complete
from ssl_core.spec import TrainSpec, ValidationError
from ssl_core.train import train

SECTIONS: dict[str, Any] = {
    "data": {"source": "digits", "size": 16},
    "encoder": {"arch": "shufflenet_v2_x0_5"},
    "method": {"name": "simclr", "branches": {"target": "shared", "projector": {"hidden_dim": 32, "out_dim": 16}}},
    "optim": {"lr": 0.1, "final_lr": 0.01},
    "trainer": {"max_epochs": 1, "batch_size": "auto", "precision": "fp32"},
    "evaluate": {"linear": "off", "max_images": 50},
}


def spec(**changed: Any) -> TrainSpec:
    given = TrainSpec.model_validate({**SECTIONS, **changed})
    return given.changed(data={**given.data.model_dump(), "mean": (0.5,) * 3, "std": (0.5,) * 3})


class TestSearch:
    @pytest.mark.parametrize("most", [2, 3, 64, 100, 4096])
    def test_it_is_the_largest_power_of_two_and_asks_few_times(self, most: int) -> None:
        for limit in (0, 1, 2, 3, 4, 31, 32, 33, 5000):
            asked: list[int] = []

            def fits(batch: int, limit: int = limit, asked: list[int] = asked) -> bool:
                asked.append(batch)
                return batch <= limit

            powers = [2**i for i in range(1, 13) if 2**i <= min(limit, most)]
            assert largest_that_fits(fits, most) == (max(powers) if powers else None)
            assert len(asked) <= 4 and max(asked) <= most

    def test_nothing_to_search(self) -> None:
        assert largest_that_fits(lambda batch: True, 1) is None


class TestRuleForCpus:
    def test_it_follows_memory_and_size(self) -> None:
        """With the memory at which 64 images just fit: twice as much has room for 128, and larger images have less."""
        low, high = 2**20, 2**36
        while high - low > 2**16:
            middle = (low + high) // 2
            low, high = (low, middle) if (by_rule(spec(), 4096, middle) or 0) >= 64 else (middle, high)
        found = by_rule(spec(), 4096, high)
        assert found == 64 and by_rule(spec(), 4096, 2 * high) in (128, 256), "weights do not grow with the batch"
        large = spec(data={"source": "digits", "size": 64})
        assert (by_rule(large, 4096, high) or 0) <= 8, "sixteen times the pixels"
        assert by_rule(spec(), 32, high) == 32 and by_rule(spec(), 4096, 2**20) is None

    def test_the_run_takes_it_and_scales_the_rate(self, tmp_path: Path) -> None:
        events = Events(tmp_path / "events.jsonl")
        folder = train(spec(), tmp_path, data_root=tmp_path, events=events)
        events.close()
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["spec"]["trainer"]["batch_size"] == 256, "most on a CPU"
        lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        assert [line["message"] for line in lines if line["type"] == "note"] == [
            "trainer.batch_size = 256: the largest power of two that fits; optim.lr = 0.1, in proportion to it"
        ]

    def test_at_most_a_quarter_of_the_images_and_an_attempt_takes_what_the_first_found(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1", tmp_path / "2"
        first.mkdir(), second.mkdir()
        cpu = torch.device("cpu")
        found, _ = with_batch_size(spec(), 150, 1, cpu, first, [])
        assert (found.trainer.batch, found.optim.lr, found.optim.final_lr) == (32, 0.1 / 8, 0.01 / 8)
        assert (first / FILE).read_text() == "32"
        again, _ = with_batch_size(spec(), 100_000, 1, cpu, second, [first])
        assert again == found
        given, note = with_batch_size(spec(trainer={"batch_size": 48}), 150, 1, cpu, second, [])
        assert given.trainer.batch == 48 and note is None


class TestSpec:
    def test_auto_is_completed_with_a_rate_for_256_images(self) -> None:
        done = complete({"data": {"source": "digits"}, "trainer": {"batch_size": "auto"}}, "default", gpu=False)
        assert done.spec.trainer.batch_size == "auto" and done.spec.optim.lr == 0.12

    def test_the_estimate_guesses(self, tmp_path: Path) -> None:
        found = check(spec(), tmp_path)
        assert found.ok and found.estimate["batch_size"] == 256 and found.estimate["steps_total"] == 5

    def test_words_other_than_auto_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="batch_size"):
            spec(trainer={"batch_size": "large"})


def test_what_counts_as_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, dtype=torch.uint8)  # 64 TiB: the allocator's own words
    assert is_out_of_memory(caught.value) and is_out_of_memory(torch.OutOfMemoryError("CUDA")) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


_LIMITED = """
import resource, sys
import torch, sklearn.linear_model, torchvision
from ssl_core.__main__ import main
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room}, resource.RLIM_INFINITY))
sys.argv = ["ssl_core", {spec!r}, "--out", {out!r}]
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, and reads /proc")
def test_a_batch_that_does_not_fit_is_told_with_one_that_does(tmp_path: Path) -> None:
    """A real failed allocation. Two processes that import torch, and some steps: about 15 s."""

    def run(batch: int, out: str) -> tuple[int, list[dict[str, Any]]]:
        large = spec(
            data={"source": "digits", "size": 64},
            method={"name": "simclr", "branches": {"target": "shared", "projector": {"hidden_dim": 32, "out_dim": 16}}},
            trainer={"max_epochs": 1, "batch_size": batch, "precision": "fp32"},
        )
        (tmp_path / "spec.json").write_text(large.model_dump_json())
        program = _LIMITED.format(room=900 * 2**20, spec=str(tmp_path / "spec.json"), out=str(tmp_path / out))
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150, check=False)
        lines = (tmp_path / out / "events.jsonl").read_text().splitlines()
        return ended.returncode, [json.loads(line) for line in lines]

    status, events = run(1024, "1")
    error = events[-1]
    assert status == 4 and error["code"] == "out_of_memory", error
    assert "trainer.batch_size = 1,024 does not fit" in error["message"]
    fitting = int(error["hint"].split("trainer.batch_size = ")[1].split(" fits")[0].replace(",", ""))
    assert 2 <= fitting < 1024
    _, events = run(max(2, fitting // 2), "2")  # half of it: another process has other fragments of address space
    trained = [event["fraction"] for event in events if event["type"] == "progress"]
    assert trained and trained[-1] == 1.0, events[-1]  # to the last step; the export is not what the limit is about
