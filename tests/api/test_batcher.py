"""The batcher alone: what shares a batch, what waits, what is dropped."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from api.batcher import Batcher, QueueFull
from api.telemetry import Telemetry


class Recorder:
    """An encoder whose vector of a row is the row; it notes its batches and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.threads: set[int] = set()
        self.go = threading.Event()
        self.go.set()

    def run(self, rows):
        self.go.wait(5)
        self.batches.append(list(rows))
        self.threads.add(threading.get_ident())
        return np.array([[row] for row in rows], np.float32)


def run(scenario, **options):
    async def main():
        batcher = Batcher(Telemetry(), **options)
        try:
            return await scenario(batcher, Recorder())
        finally:
            await batcher.close()

    return asyncio.run(main())


async def held(batcher, recorder, key="a"):
    """Occupy the inference thread with one row."""
    recorder.go.clear()
    task = asyncio.create_task(batcher.submit(key, [-1.0], recorder.run))
    await asyncio.sleep(0.02)
    return task


class TestBatches:
    def test_what_gathers_while_busy_is_the_next_batch(self):
        async def scenario(batcher, recorder):
            first = await held(batcher, recorder)
            tasks = [asyncio.create_task(batcher.submit("a", [float(n)], recorder.run)) for n in range(5)]
            await asyncio.sleep(0.01)
            recorder.go.set()
            results = await asyncio.gather(first, *tasks)
            assert [result.vectors[0, 0] for result in results] == [-1, 0, 1, 2, 3, 4]
            assert recorder.batches == [[-1], [0, 1, 2, 3, 4]]
            assert len(recorder.threads) == 1

        run(scenario)

    def test_bounded_by_images_and_large_requests_are_split_in_order(self):
        async def scenario(batcher, recorder):
            first = await held(batcher, recorder)
            large = asyncio.create_task(batcher.submit("a", [float(n) for n in range(10)], recorder.run))
            small = asyncio.create_task(batcher.submit("a", [99.0], recorder.run))
            await asyncio.sleep(0.01)
            recorder.go.set()
            assert (await large).vectors[:, 0].tolist() == list(range(10))
            assert (await small).vectors.tolist() == [[99]]
            await first
            assert [len(batch) for batch in recorder.batches] == [1, 4, 4, 3]

        run(scenario, max_batch=4)

    def test_encoders_take_turns_and_never_share_a_batch(self):
        async def scenario(batcher, recorder):
            other = Recorder()
            first = await held(batcher, recorder)
            tasks = [asyncio.create_task(batcher.submit("a", [float(n)] * 4, recorder.run)) for n in range(3)]
            tasks.append(asyncio.create_task(batcher.submit("b", [7.0], other.run)))
            await asyncio.sleep(0.01)
            recorder.go.set()
            await tasks[3]
            assert len(recorder.batches) <= 3, "b waited for all of a"
            await asyncio.gather(first, *tasks)
            assert other.batches == [[7]]

        run(scenario, max_batch=4)

    def test_no_wait_when_idle(self):
        async def scenario(batcher, recorder):
            await batcher.submit("a", [1.0], recorder.run)
            await asyncio.sleep(0.1)
            started = time.perf_counter()
            await batcher.submit("a", [1.0], recorder.run)
            assert time.perf_counter() - started < 0.5

        run(scenario, max_wait=5.0)

    def test_after_a_large_batch_its_clients_are_awaited(self):
        async def scenario(batcher, recorder):
            first = await held(batcher, recorder)
            tasks = [asyncio.create_task(batcher.submit("a", [float(n)], recorder.run)) for n in range(4)]
            await asyncio.sleep(0.01)
            recorder.go.set()
            await asyncio.gather(first, *tasks)

            async def late(n):
                await asyncio.sleep(0.005 * n)
                return await batcher.submit("a", [float(n)], recorder.run)

            await asyncio.gather(*(late(n) for n in range(4)))
            assert len(recorder.batches) == 3, recorder.batches

        run(scenario, max_wait=1.0)


class TestTrouble:
    def test_a_request_of_a_client_that_has_gone_is_not_computed(self):
        async def scenario(batcher, recorder):
            first = await held(batcher, recorder)
            gone = asyncio.create_task(batcher.submit("a", [5.0], recorder.run))
            stays = asyncio.create_task(batcher.submit("a", [6.0], recorder.run))
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.sleep(0)
            recorder.go.set()
            assert (await stays).vectors.tolist() == [[6]]
            await first
            assert [5] not in recorder.batches and [5, 6] not in recorder.batches

        run(scenario)

    def test_an_error_reaches_its_requests_and_no_other(self):
        def broken(rows):
            raise RuntimeError("out of memory")

        async def scenario(batcher, recorder):
            with pytest.raises(RuntimeError, match="out of memory"):
                await batcher.submit("bad", [1.0] * 100, broken)
            assert (await batcher.submit("good", [2.0], recorder.run)).vectors.tolist() == [[2]]

        run(scenario)

    def test_full_says_when_to_come_back(self):
        async def scenario(batcher, recorder):
            with batcher.admit(8):
                with pytest.raises(QueueFull) as full, batcher.admit(3):
                    pass
                assert full.value.retry_after >= 1
                with batcher.admit(2):
                    assert batcher.pending == 10
            assert batcher.pending == 0
            with batcher.admit(50):  # alone, any request is admitted
                pass

        run(scenario, max_pending=10)
