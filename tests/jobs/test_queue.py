"""Wake-ups through a real broker: what they carry, and what happens without one."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs import queue
from jobs.settings import get_settings
from support.servers import valkey, valkey_socket

JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


class TestWakeUps:
    @pytest.fixture
    def at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """This process's broker is the one that a test starts in this folder."""
        monkeypatch.setenv("IMPRINT_REDIS_URL", f"redis+socket://{valkey_socket(tmp_path)}")
        get_settings.cache_clear()
        queue.celery_app.cache_clear()
        yield tmp_path
        queue.celery_app().close()
        get_settings.cache_clear()
        queue.celery_app.cache_clear()

    def test_carry_the_id_and_nothing_else(self, at: Path) -> None:
        with valkey(at):
            assert queue.broker_alive() and queue.pending() == 0
            assert queue.enqueue(JOB) is True and queue.pending() == 1
            with redis.Redis(unix_socket_path=str(valkey_socket(at))) as client:
                message = json.loads(client.lindex(queue.QUEUE, 0))  # type: ignore[arg-type]
        assert json.loads(base64.b64decode(message["body"]))[:2] == [[JOB], {}]
        assert (message["content-type"], message["headers"]["task"]) == ("application/json", queue.TASK)

    def test_survive_a_restart_of_the_broker(self, at: Path) -> None:
        with valkey(at):
            assert queue.enqueue(JOB)
        with valkey(at):
            assert queue.pending() == 1

    def test_without_a_broker_are_refused_at_once(self, at: Path) -> None:
        began = time.monotonic()
        assert queue.enqueue(JOB) is False and queue.broker_alive() is False
        assert time.monotonic() - began < 0.5

    def test_to_a_broker_that_hangs_are_given_up_in_two_seconds(self, at: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(valkey_socket(at)))
            listener.listen()  # the kernel accepts; nobody answers
            began = time.monotonic()
            assert queue.enqueue(JOB) is False
            assert time.monotonic() - began < 4

    def test_to_a_broker_that_stops_answering_later_too(self, at: Path) -> None:
        """A connection of the pool that was good a moment ago."""
        with valkey(at):
            assert queue.enqueue(JOB)
            with redis.Redis(unix_socket_path=str(valkey_socket(at))) as client:
                pid = client.info()["process_id"]  # type: ignore[index]
            os.kill(pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                assert queue.enqueue(JOB) is False
                assert time.monotonic() - began < 4
            finally:
                os.kill(pid, signal.SIGCONT)
            assert queue.enqueue(JOB) is True

    def test_one_that_cannot_be_acknowledged_does_not_make_a_worker_deaf(self, at: Path) -> None:
        """The broker stops while a message is on its way: its end is never told, and the next one comes all the same."""
        app = queue.celery_app()
        heard: list[Any] = []
        with valkey(at), queue.connection() as opened:
            consumer = app.amqp.TaskConsumer(opened.default_channel)
            consumer.on_message = heard.append
            consumer.qos(prefetch_count=1)  # as a worker of one slot
            consumer.consume()
            for count in (1, 2):
                assert queue.enqueue(JOB)
                opened.drain_events(timeout=10)
                assert len(heard) == count, "and none of them is acknowledged"
            with redis.Redis(unix_socket_path=str(valkey_socket(at))) as client:
                assert client.exists("unacked") == 0

    def test_are_configured_as_designed(self, at: Path) -> None:
        conf = queue.celery_app().conf
        wanted = {
            "task_acks_late": False,
            "worker_disable_prefetch": True,
            "worker_prefetch_multiplier": 1,
            "task_ignore_result": True,
            "accept_content": ["json"],
            "task_serializer": "json",
            "result_backend": None,
            "worker_pool": "threads",
        }
        assert {name: conf[name] for name in wanted} == wanted
        assert [each.no_ack for each in conf.task_queues] == [True]
        options = {"socket_timeout": 30, "socket_connect_timeout": 5, "health_check_interval": 25}
        assert options.items() <= conf.broker_transport_options.items()
