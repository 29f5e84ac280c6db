"""Short questions to the database take turns, and a process that has settled is not looked through for garbage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import pytest

from api import short as module
from api.short import AT_ONCE, short
from jobs.errors import Unavailable

T = TypeVar("T")


def run(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """In a thread: a browser of other tests may keep a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, ask).result()


class TestTurns:
    def test_few_at_a_time_all_answered(self):
        now, most, lock = 0, 0, threading.Lock()

        @short
        def route(number: int) -> int:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 1
            return number

        async def ask() -> set[int]:
            answers: set[int] = set()

            async def one(number: int) -> None:
                answers.add(await route(number))

            async with anyio.create_task_group() as group:
                for number in range(4 * AT_ONCE):
                    group.start_soon(one, number)
            return answers

        assert run(ask) == set(range(4 * AT_ONCE))
        assert most == AT_ONCE

    def test_a_silent_database_keeps_nobody_waiting_for_ever(self, monkeypatch):
        """And once it answers again, so do we."""
        monkeypatch.setattr(module, "PATIENCE", 0.1)
        silent = threading.Event()

        @short
        def route() -> str:
            silent.wait(10)
            return "answered"

        async def ask() -> str:
            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(route)
                await anyio.sleep(0.05)
                with pytest.raises(Unavailable, match="others are waiting"):
                    await route()
                silent.set()
            return await route()

        assert run(ask) == "answered"

    def test_errors_are_the_routes_own_and_give_the_turn_back(self):
        @short
        def route() -> None:
            raise KeyError("gone")

        async def ask() -> int:
            for _ in range(2 * AT_ONCE):
                with pytest.raises(KeyError, match="gone"):
                    await route()
            return 1

        assert run(ask) == 1

    def test_over_http(self, service, monkeypatch):
        """Within the service the same is a 503 that says when to come again."""
        monkeypatch.setattr(module, "PATIENCE", 0.1)
        silent, repository = threading.Event(), type(service.repository)
        real = repository.list
        monkeypatch.setattr(repository, "list", lambda self, **filters: silent.wait(5) and real(self, **filters))
        asking = [threading.Thread(target=service.http.get, args=("/jobs",)) for _ in range(AT_ONCE)]
        for each in asking:
            each.start()
        time.sleep(0.3)
        refused = service.http.get("/jobs")
        silent.set()
        for each in asking:
            each.join()
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert service.http.get("/jobs").status_code == 200


def test_what_the_service_is_made_of_is_left_out_of_collections():
    """In a process of its own: what is frozen is never freed."""
    program = """
import asyncio, gc, threading
import uvicorn
from api.__main__ import Server

async def app(scope, receive, send): ...

class Brief(Server):
    async def main_loop(self):
        print(gc.get_freeze_count(), *gc.get_threshold())

Brief(uvicorn.Config(app, port=0, lifespan="off", log_level="error"), app).run()
"""
    said = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert int(said[0]) > 50_000 and said[1] == "10000"
