"""Batches whose whole state is a position: stop anywhere, and the rest of the epoch comes out as if nothing had happened.

The order of an epoch is a function of (seed, epoch), so a checkpoint holds two numbers and no generator. Processes of a
distributed run take disjoint parts of the same global batch: what is trained on does not depend on how many there are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_core.augment.random import mix
from ssl_core.data.batch import RawBatch
from ssl_core.data.machine import cpus
from ssl_core.data.store import FileStore, ImageStore

State = dict[str, int]
AHEAD = 2  # batches gathered before they are asked for


def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch: int64 (count,), a function of its arguments."""
    generator = torch.Generator().manual_seed(mix(mix(seed) + epoch) >> 1)  # torch wants less than 2**63
    return torch.randperm(count, generator=generator)


def worker_count(workers: int | str, world_size: int = 1) -> int:
    """Processes that decode for one rank; "auto" shares the processors, at most 16 each."""
    return max(1, min(16, cpus() // world_size)) if isinstance(workers, str) else workers


class TrainBatches:
    """The training batches of one rank. Iterating goes through what is left of the epoch, then moves on to the next.

    `batch_size` is global: each rank gets every `world_size`-th image of it. `drop_last=False` keeps the last, smaller
    batch, rounded down to equal parts of at least 2 images (one image has no batch statistics).
    `workers`: processes that decode when images are streamed from files; 0 decodes in the background of this one.

    State: {"epoch", "position"}, position = global batches handed out. Follows the protocol of stateful loaders
    (`state_dict`, `load_state_dict`), and `sampler.set_epoch` as Lightning calls it at the start of each epoch.
    """

    def __init__(
        self,
        store: ImageStore,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
        workers: int = 0,
    ) -> None:
        if batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(f"batch_size = {batch_size} must be a multiple of world_size = {world_size}, rank = {rank} below it")
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.rank, self.world_size, self.drop_last = rank, world_size, drop_last
        self.epoch = self.position = 0
        self._pin = torch.cuda.is_available()
        self.unreadable: dict[int, str] = {}  # number: reason, of images that streaming passed over
        full, rest = divmod(len(store), batch_size)
        self._length = full + (not drop_last and rest // world_size >= 2)
        if self._length == 0:
            raise ValueError(f"batch_size = {batch_size} is larger than the {len(store)} images")
        streamed = isinstance(store, FileStore) and workers > 0
        self._loader = self._stream(store, workers) if streamed else None

    @property
    def sampler(self) -> TrainBatches:
        """Itself: Lightning looks for `sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, unless it is the one under way (as after `load_state_dict`)."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> State:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: State) -> None:
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._length

    def __iter__(self) -> Iterator[RawBatch]:
        epoch = self.epoch
        batches = self._in_background() if self._loader is None else self._from_workers()
        for position, batch in enumerate(batches, self.position + 1):
            self.position = position  # before the yield: whoever saves now has this batch behind him
            yield batch
        if self.epoch == epoch:
            self.epoch, self.position = epoch + 1, 0

    def remaining(self) -> Iterator[Tensor]:
        """This rank's part of each batch that is left: int64 (n,)."""
        order = permutation(len(self.store), self.seed, self.epoch)
        for number in range(self.position, self._length):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            equal = len(batch) // self.world_size * self.world_size
            yield batch[self.rank : equal : self.world_size]

    def _in_background(self) -> Iterator[RawBatch]:
        """Gathers the next batches on a thread while the current one is trained on."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting: deque[Future[RawBatch]] = deque()
            for indices in self.remaining():
                waiting.append(pool.submit(self._gather, indices))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _gather(self, indices: Tensor) -> RawBatch:
        if isinstance(self.store, FileStore):
            images, indices = self.store.substitute(indices)
            self.unreadable = self.store.unreadable
        else:
            if self._pin:
                indices = indices.pin_memory()
            images = self.store.batch(indices)
        # Only from pinned memory does a copy to the GPU run beside its work.
        return RawBatch(images.pin_memory() if self._pin and images.device.type == "cpu" else images, indices)

    def _from_workers(self) -> Iterator[RawBatch]:
        for images, index, unreadable in self._loader or ():
            self.unreadable.update(unreadable)
            yield RawBatch(images, index)

    def _stream(self, store: ImageStore, workers: int) -> DataLoader[Any]:
        """Each worker decodes whole batches; the sampler hands it this rank's numbers. They live on between epochs."""
        assert isinstance(store, FileStore)
        return DataLoader(
            _Streamed(store),
            batch_size=None,
            sampler=_Remaining(self),
            num_workers=workers,
            persistent_workers=True,
            worker_init_fn=_end_only_with_the_trainer,
            pin_memory=torch.cuda.is_available(),
        )


def _end_only_with_the_trainer(worker: int) -> None:
    """A stop is SIGTERM to the whole process group, and the trainer needs its workers until the checkpoint is written (the
    death of one is an exception there). So a worker obeys a SIGTERM only when the trainer itself sends it. Linux."""
    if not hasattr(signal, "sigwaitinfo"):
        return
    trainer = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def obey() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
            pass
        os._exit(0)

    threading.Thread(target=obey, name="sigterm", daemon=True).start()


class _Streamed(Dataset[tuple[Tensor, Tensor, dict[int, str]]]):
    """A dataset whose items are batches, addressed by the numbers of their images."""

    def __init__(self, store: FileStore) -> None:
        self.store = store

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor, dict[int, str]]:
        images, really = self.store.substitute(indices)
        return images, really, dict(self.store.unreadable)


class _Remaining:
    """What is left of the epoch, as a sampler whose items are batches of numbers."""

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches.remaining()

    def __len__(self) -> int:
        return len(self.batches)


class EvalBatches:
    """All images of a store in order, the last and smaller batch included."""

    def __init__(self, store: ImageStore, batch_size: int) -> None:
        self.store, self.batch_size = store, batch_size

    def __len__(self) -> int:
        return -(-len(self.store) // self.batch_size)

    def __iter__(self) -> Iterator[RawBatch]:
        for indices in torch.split(torch.arange(len(self.store)), self.batch_size):
            yield RawBatch(self.store.batch(indices), indices)
