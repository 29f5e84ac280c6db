"""The client on an event loop, its streams of events, and results as tables; against the real API, a process of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint import AsyncClient, Client
from imprint.aio import AsyncIndex
from imprint.errors import Conflict, ConnectionFailed, ImprintError, NotFound, Rejected, Unavailable
from imprint.index import Found, Index
from imprint.records import Embedded, Job
from imprint.results import Results, Rows, to_arrow, to_dicts
from support.composed import free_port
from support.service import Service

DIGITS = {"source": "digits"}
JOB: dict[str, Any] = {"id": "job_1", "status": "queued"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """No broker and no worker: jobs stay queued."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "pictures").mkdir()
    running = Service(folder, folder / "pictures", free_port())
    try:
        running.start_api()
        yield running
    finally:
        running.close()


def methods(of: type) -> dict[str, list[str]]:
    """Public methods with the names of their parameters."""
    found = inspect.getmembers(of, inspect.isfunction)
    return {name: list(inspect.signature(each).parameters) for name, each in found if not name.startswith("_")}


def test_both_clients_offer_the_same() -> None:
    assert methods(AsyncClient) == methods(Client)
    assert methods(AsyncIndex) == methods(Index)


class TestAgainstTheRealThing:
    def test_a_session(self, service: Service) -> None:
        async def session() -> None:
            async with AsyncClient(service.address) as client:
                assert await client.ready()
                made = [await client.submit(data=DIGITS, labels={"set": "async"}) for _ in range(3)]
                found = [job.id async for job in client.jobs(labels={"set": "async"})]
                assert found == [job.id for job in made[::-1]]
                limited = await client.jobs(labels={"set": "async"}, limit=2).all()
                assert [job.id for job in limited] == found[:2]
                assert (await client.cancel(made[0].id)).status == "cancelled"
                with pytest.raises(Conflict):
                    await client.pause(made[0].id)
                ended = await client.wait(made[0].id, check=False)
                assert ended == service.client.job(made[0].id)
                with pytest.raises(TimeoutError):
                    await client.wait(made[1].id, timeout=0.05, every=0.05)
                assert [event.type async for event in client.events(made[0].id)] == ["created", "cancelled"]
                with pytest.raises(Rejected) as caught:
                    await client.submit(data=DIGITS, trainer={"max_epochs": 0})
                assert caught.value.problems[0].pointer == "/trainer/max_epochs"
                with pytest.raises(NotFound):
                    await client.job("job_00000000000000000000000000")
                with pytest.raises(ImprintError, match="no encoder 'latest'"):
                    await client.encoder()
                # Several at once, on one loop.
                jobs = await asyncio.gather(*(client.job(job.id) for job in made))
                assert [job.id for job in jobs] == [job.id for job in made]
                table = await client.jobs(labels={"set": "async"}).to_pandas()
                assert list(table["id"]) == found and list(table["labels.set"]) == ["async"] * 3

        asyncio.run(session())

    def test_events_are_followed_until_the_job_ends(self, service: Service) -> None:
        async def session() -> list[str]:
            async with AsyncClient(service.address) as client:
                job = await client.submit(data=DIGITS)
                seen = []
                async for event in client.follow_events(job.id):
                    seen.append(event.type)
                    if event.type == "created":
                        await client.cancel(job.id)
                return seen

        assert asyncio.run(session()) == ["created", "cancelled"]

    def test_a_restart_of_the_server_loses_and_repeats_nothing(self, service: Service) -> None:
        """About 5 s: an API that stops and starts."""
        job = service.client.submit(data=DIGITS)
        seen: list[tuple[int, str]] = []

        def follow() -> None:
            with Client(service.address) as client:
                seen.extend((event.id, event.type) for event in client.follow_events(job.id))

        thread = threading.Thread(target=follow)
        thread.start()
        time.sleep(0.5)
        service.stop(service.api)
        service.start_api()
        service.client.cancel(job.id)
        service.client.resume(job.id)
        service.client.cancel(job.id)
        thread.join(30)
        assert not thread.is_alive()
        assert seen == [(event.id, event.type) for event in service.client.events(job.id)][: len(seen)]
        assert [type_ for _, type_ in seen][:2] == ["created", "cancelled"] and len({id_ for id_, _ in seen}) == len(seen)

    def test_whoever_leaves_early_leaves_no_stream_open(self, service: Service) -> None:
        job = service.client.submit(data=DIGITS)
        events = service.client.follow_events(job.id)
        assert next(events).type == "created"
        events._records.close()  # type: ignore[attr-defined]  # what the end of a `for` loop's frame does
        assert service.client.job(job.id).status == "queued"


class TestRetries:
    def test_the_rules_are_those_of_the_blocking_client(self, server: Any) -> None:
        busy = {"body": {"detail": "draining"}, "status": 503}

        async def session() -> None:
            async with AsyncClient(server.url) as client:
                server.say({"drop": True}, busy, {"body": JOB})
                assert (await client.submit(data=DIGITS)).id == "job_1"
                assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 1 and len(server.seen) == 3
                server.say(busy, {"body": JOB})
                with pytest.raises(Unavailable):
                    await client.cancel("job_1")
            async with AsyncClient(f"http://127.0.0.1:{free_port()}") as nobody:
                with pytest.raises(ConnectionFailed, match="no Imprint server answers"):
                    await nobody.job("job_1")

        asyncio.run(session())


class TestTables:
    NOW = datetime(2026, 1, 2, tzinfo=UTC)

    def test_sections_become_columns(self) -> None:
        body = {**JOB, "progress": {"epoch": 3}, "metrics": {"knn_top1": 91.0}, "labels": {"team": "a"}, "spec": {"data": {}}}
        (row,) = Results([Job.parse(body)]).to_dicts()
        assert (row["progress.epoch"], row["metrics.knn_top1"], row["labels.team"]) == (3, 91.0, "a")
        assert not any(name.startswith(("spec", "raw")) for name in row)

    def test_bodies_as_they_came(self) -> None:
        rows = Results([{"id": "wh_1", "events": ["job.failed"], "last": {"answer": 204}}])
        assert rows.to_arrow().to_pylist() == [{"id": "wh_1", "events": ["job.failed"], "last.answer": 204}]

    def test_vectors_become_lists_of_one_length(self) -> None:
        answers = [Embedded("a", np.array([1, 2], np.float32)), Embedded("b", None, "broken")]
        table = to_arrow(answers)
        assert str(table.schema.field("vector").type) == "fixed_size_list<item: float>[2]"
        assert table.to_pylist() == [
            {"name": "a", "vector": [1.0, 2.0], "error": None},
            {"name": "b", "vector": None, "error": "broken"},
        ]

    def test_lists_too(self) -> None:
        rows = Rows([Found("a.jpg", 0.5), Found("b.jpg", 0.25)])
        assert rows.to_dicts() == to_dicts(rows) and list(rows.to_pandas()["score"]) == [0.5, 0.25]
        assert rows[0] == Found("a.jpg", 0.5)


def test_a_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    """A server that closes the connection in the middle of its first answer; blocking and not, by the same flow."""
    import http.server
    import io

    from imprint.aio_transport import AsyncTransport
    from imprint.flow import download, run, run_async
    from imprint.transport import Transport

    content, asked = bytes(range(256)) * 100, []

    class Breaking(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers["Range"] else 0
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:] if begin else content[:1000])
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as breaking:
        threading.Thread(target=breaking.serve_forever, kwargs={"poll_interval": 0.02}).start()
        url = f"http://127.0.0.1:{breaking.server_address[1]}"
        try:
            file = io.BytesIO()
            transport = Transport(url, None, 10)
            run(download("/x", file), transport.performer())
            transport.close()
            assert file.getvalue() == content

            async def again() -> bytes:
                other, file = AsyncTransport(url, None, 10), io.BytesIO()
                await run_async(download("/x", file), other.performer())
                await other.close()
                return file.getvalue()

            assert asyncio.run(again()) == content
        finally:
            breaking.shutdown()
    assert asked == [None, "bytes=1000-"] * 2
