"""Batches: their whole state is a position, and what is trained on does not depend on how many processes there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch

from ssl_core.data.batches import EvalBatches, TrainBatches, permutation, worker_count
from ssl_core.data.store import FileStore, InMemoryStore


def numbered(count: int) -> InMemoryStore:
    """Image i is filled with i."""
    return InMemoryStore(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, 4, 4).contiguous())


def indices(batches: TrainBatches) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


class TestOrder:
    def test_every_image_once_and_with_its_number(self) -> None:
        seen = []
        for batch in TrainBatches(numbered(50), 8, seed=3, drop_last=False):
            assert batch.images.dtype == torch.uint8 and batch.index.dtype == torch.int64
            assert batch.images[:, 0, 0, 0].tolist() == batch.index.tolist()
            seen += batch.index.tolist()
        assert sorted(seen) == list(range(50))

    def test_another_order_each_epoch_and_seed_and_the_same_when_asked_again(self) -> None:
        orders = {tuple(permutation(100, seed, epoch).tolist()) for seed in range(4) for epoch in range(4)}
        assert len(orders) == 16
        assert torch.equal(permutation(100, 2, 3), permutation(100, 2, 3))
        first = torch.stack([permutation(10, 0, epoch) for epoch in range(3000)])[:, 0].bincount(minlength=10)
        assert (first - 300).abs().max() < 5 * 300**0.5, "the first place is not uniform over the images"

    def test_epochs_follow_each_other(self) -> None:
        batches = TrainBatches(numbered(20), 5, seed=0)
        one, two = indices(batches), indices(batches)
        assert one != two and batches.state_dict() == {"epoch": 2, "position": 0}
        batches.set_epoch(0)
        assert indices(batches) == one

    @pytest.mark.parametrize(
        "count,batch,drop,expected", [(50, 8, True, 6), (50, 8, False, 7), (48, 8, False, 6), (49, 8, False, 6)]
    )
    def test_length(self, count: int, batch: int, drop: bool, expected: int) -> None:
        batches = TrainBatches(numbered(count), batch, 0, drop_last=drop)
        assert len(batches) == expected == len(indices(batches))

    def test_a_batch_larger_than_the_data(self) -> None:
        with pytest.raises(ValueError, match="larger than the 5 images"):
            TrainBatches(numbered(5), 8, 0)
        assert len(TrainBatches(numbered(5), 8, 0, drop_last=False)) == 1


class TestState:
    @pytest.mark.parametrize("stop", range(7))
    def test_resuming_gives_exactly_the_rest(self, stop: int) -> None:
        whole = TrainBatches(numbered(50), 8, seed=5)
        whole.set_epoch(3)
        everything = indices(whole) + indices(whole)
        first = TrainBatches(numbered(50), 8, seed=5)
        first.set_epoch(3)
        iterator = iter(first)
        done = [next(iterator).index.tolist() for _ in range(stop)]
        state = first.state_dict()
        assert state == {"epoch": 3, "position": stop}
        second = TrainBatches(numbered(50), 8, seed=5)
        second.load_state_dict(state)
        second.set_epoch(3)  # as Lightning does before the first batch: changes nothing
        assert done + indices(second) + indices(second) == everything

    def test_set_epoch_begins_anew_after_an_abandoned_epoch(self) -> None:
        batches = TrainBatches(numbered(20), 5, seed=0)
        next(iter(batches))
        batches.sampler.set_epoch(1)
        assert len(indices(batches)) == 4


class TestRanks:
    @pytest.mark.parametrize("world_size", [2, 4])
    @pytest.mark.parametrize("drop_last", [True, False])
    def test_together_they_are_the_batches_of_one_process(self, world_size: int, drop_last: bool) -> None:
        alone = indices(TrainBatches(numbered(60), 8, 1, drop_last=drop_last))
        ranks = [indices(TrainBatches(numbered(60), 8, 1, rank, world_size, drop_last)) for rank in range(world_size)]
        for number, batch in enumerate(alone[: len(ranks[0])]):
            parts = [rank[number] for rank in ranks]
            assert len({len(part) for part in parts}) == 1, "ranks would wait for each other forever"
            together = [image for row in zip(*parts, strict=True) for image in row]
            assert together == batch
        if drop_last:
            assert len(ranks[0]) == len(alone)

    def test_a_last_batch_too_small_to_share_is_left_out(self) -> None:
        ranks = [TrainBatches(numbered(17), 8, 0, rank, 2, drop_last=False) for rank in range(2)]
        assert [len(rank) for rank in ranks] == [2, 2]

    def test_uneven_batch_size(self) -> None:
        with pytest.raises(ValueError, match="multiple of world_size"):
            TrainBatches(numbered(10), 5, 0, 0, 2)


class TestStreaming:
    def test_workers_give_the_same_batches_and_resume(self, write) -> None:
        root = write(*(f"{i:02}.png" for i in range(24)))
        (root / "07.png").write_bytes(b"broken")
        paths = [f"{i:02}.png" for i in range(24)]
        here = TrainBatches(FileStore(root, paths, 16), 4, seed=2)
        there = TrainBatches(FileStore(root, paths, 16), 4, seed=2, workers=2)
        for _ in range(2):  # the workers live on
            expected, got = list(here), list(there)
            assert len(expected) == len(got) == 6
            for a, b in zip(expected, got, strict=True):
                assert torch.equal(a.index, b.index) and torch.equal(a.images, b.images)
        assert set(there.unreadable) == {7} == set(here.unreadable)
        there.load_state_dict({"epoch": 0, "position": 4})
        here.load_state_dict({"epoch": 0, "position": 4})
        assert indices(there) == indices(here)

    @pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs Linux")
    def test_workers_outlive_a_stop_of_the_process_group_but_not_the_trainers_own(self, write) -> None:
        """The supervisor's SIGTERM goes to the whole group; a dead worker would be an exception instead of a checkpoint."""
        paths = [f"{i:02}.png" for i in range(24)]
        batches = TrainBatches(FileStore(write(*paths), paths, 16), 2, seed=0, workers=1)
        others = set(multiprocessing.active_children())
        iterator = iter(batches)
        next(iterator)
        (worker,) = set(multiprocessing.active_children()) - others
        subprocess.run([sys.executable, "-c", f"import os; os.kill({worker.pid}, 15)"], check=True)
        assert len(list(iterator)) == 11 and worker.is_alive()
        os.kill(worker.pid, signal.SIGTERM)
        worker.join(10)
        assert worker.exitcode == 0

    def test_worker_count(self) -> None:
        assert worker_count(3) == 3 and worker_count(0) == 0
        assert 1 <= worker_count("auto", 1000) <= worker_count("auto") <= 16


def test_evaluation_keeps_order_and_the_last_batch() -> None:
    batches = EvalBatches(numbered(10), 4)
    assert [batch.index.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(batches) == 3
