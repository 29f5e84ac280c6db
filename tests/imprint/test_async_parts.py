"""Datasets, webhooks and maps from both clients: the same requests and answers, and what breaks off goes on."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from imprint import AsyncClient, Client, datasets
from imprint.datasets import Dataset
from imprint.errors import ConnectionFailed, NotFound, Rejected, UsageError
from imprint.flow import Call, Upload
from imprint.results import AsyncResults
from imprint.transport import options, sent
from support.archives import pictures, png, zipped
from support.composed import free_port
from support.service import Service

DATASET = {"id": "ds_1", "name": "pets"}
Ask = Callable[..., Any]


@pytest.fixture(params=["blocking", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """`ask(url, "method", ...)`: what a new client's method returns, as a list where it lists."""

    def blocking(url: str, name: str, *given: Any, **more: Any) -> Any:
        with Client(url) as client:
            answer = getattr(client, name)(*given, **more)
            return list(answer) if isinstance(answer, Iterator) else answer

    async def awaited(url: str, name: str, *given: Any, **more: Any) -> Any:
        async with AsyncClient(url) as client:
            answer = getattr(client, name)(*given, **more)
            if isinstance(answer, AsyncResults):
                return list(await answer.all())
            assert inspect.isawaitable(answer)
            return await answer

    return blocking if request.param == "blocking" else lambda *given, **more: asyncio.run(awaited(*given, **more))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """About a megabyte: several pieces."""
    file = tmp_path / "pets.zip"
    file.write_bytes(zipped({**pictures(2), "noise.png": png(1, 600)}))
    return file


class TestUploads:
    def test_go_on_where_they_broke(self, server: Any, ask: Ask, archive: Path) -> None:
        content, said = archive.read_bytes(), []
        begun = {"body": {"offset": 300_000, "dataset": None}}
        server.say({"body": {"offset": 0, "dataset": None}}, {"drop": True}, begun, {"status": 201, "body": DATASET})
        made = ask(server.url, "upload_dataset", archive, on_progress=lambda *far: said.append(far))
        assert isinstance(made, Dataset) and made.id == "ds_1"
        assert [(seen.method, seen.path) for seen in server.seen] == [
            ("GET", "/datasets/uploads"),
            ("POST", "/datasets?name=pets"),
            ("GET", "/datasets/uploads"),
            ("POST", "/datasets?name=pets&offset=300000"),
        ]
        assert (server.seen[1].body, server.seen[3].body) == (content, content[300_000:])
        assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 1
        size = len(content)
        assert said.count((size, size)) == 2 and min(said) == (2**18, size) and (300_000 + 2**18, size) in said

    def test_what_has_arrived_is_not_sent(self, server: Any, ask: Ask, archive: Path) -> None:
        server.say({"body": {"offset": 0, "dataset": "ds_1"}}, {"body": DATASET})
        assert ask(server.url, "upload_dataset", archive).name == "pets"
        assert [seen.path for seen in server.seen] == ["/datasets/uploads", "/datasets/ds_1"]

    def test_waits_for_the_request_before(self, server: Any, ask: Ask, archive: Path) -> None:
        """About 1 s: the pause before it asks again."""
        none = {"body": {"offset": 0, "dataset": None}}
        server.say(none, {"status": 409, "body": {"detail": "still"}}, none, {"status": 201, "body": DATASET})
        assert ask(server.url, "upload_dataset", archive).id == "ds_1" and len(server.seen) == 4

    def test_end_when_nothing_helps(self, server: Any, ask: Ask, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(datasets, "PAUSES", (0.0,))
        none = {"body": {"offset": 0, "dataset": None}}
        server.say(none, {"drop": True}, none, {"drop": True}, none)
        with pytest.raises(ConnectionFailed):
            ask(server.url, "upload_dataset", archive)
        assert len(server.seen) == 4

    def test_a_file_that_grows_meanwhile_is_sent_as_it_was(self, archive: Path) -> None:
        size = archive.stat().st_size
        pieces = Upload(archive, None, 10, size).pieces()
        first = next(pieces)
        with archive.open("ab") as file:
            file.write(b"more")
        assert len(first + b"".join(pieces)) == size - 10

    def test_a_long_answer_leaves_the_limit_of_sending(self) -> None:
        usual = options("http://x", None, 90)["timeout"]
        limit = sent(Call("POST", "/x", timeout=3600), usual)["timeout"]
        assert limit == httpx.Timeout(connect=5, read=3600, write=90, pool=90)


def test_a_folder_is_packed_beside_the_loop(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is on the loop goes on meanwhile; and nothing is left behind."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/a.png").write_bytes(png(0))
    packed, ticked = [], threading.Event()
    really = datasets._pack

    def pack(source: Path, to: Path) -> None:
        assert ticked.wait(10), "the loop stands still"
        really(source, to)
        packed.append(to)

    monkeypatch.setattr(datasets, "_pack", pack)

    async def tick() -> None:
        await asyncio.sleep(0.05)
        ticked.set()

    async def session() -> Dataset:
        async with AsyncClient(server.url) as client:
            made, _ = await asyncio.gather(client.upload_dataset(tmp_path / "cats"), tick())
            return made

    server.say({"body": {"offset": 0, "dataset": None}}, {"status": 201, "body": DATASET})
    assert asyncio.run(session()).id == "ds_1"
    assert server.seen[1].body.startswith(b"PK") and server.seen[1].path == "/datasets?name=cats"
    assert not packed[0].parent.exists()


def test_webhooks(server: Any, ask: Ask) -> None:
    hook = {"id": "wh_1"}
    server.say({"body": {"data": [hook], "has_more": True}}, {"body": {"data": [{"id": "wh_2"}], "has_more": False}})
    assert ask(server.url, "webhooks") == [hook, {"id": "wh_2"}]
    assert ask(server.url, "deliveries", "wh_1", limit=1) == [{"id": "wh_2"}]
    server.say({"body": hook})
    for name, *given in (
        ("add_webhook", "https://example.org", ["job.failed"]),
        ("enable_webhook", "wh_1", False),
        ("test_webhook", "wh_1"),
    ):
        assert ask(server.url, name, *given) == hook
    assert ask(server.url, "delete_webhook", "../jobs") is None
    assert [(seen.method, seen.path, seen.body and seen.json()) for seen in server.seen[1:]] == [
        ("GET", "/webhooks?after=wh_1&limit=100", b""),
        ("GET", "/webhooks/wh_1/deliveries?limit=1", b""),
        ("POST", "/webhooks", {"url": "https://example.org", "events": ["job.failed"]}),
        ("PATCH", "/webhooks/wh_1", {"enabled": False}),
        ("POST", "/webhooks/wh_1/test", b""),
        ("DELETE", "/webhooks/..%2Fjobs", b""),
    ]


class TestMaps:
    ROWS = pa.table(
        {
            "path": ["a/1.png", "b/2.png"],
            "folder": pa.array(["a", "b"]).dictionary_encode(),
            "x": pa.array([0.5, 1.5], pa.float32()),
            "nearest": pa.array([[1], [0]], pa.list_(pa.int32())),
            "cosine": pa.array([[0.5], [0.5]], pa.list_(pa.float32())),
        }
    )

    def test_saved(self, server: Any, ask: Ask, tmp_path: Path) -> None:
        """In three forms; in the first the connection breaks, too."""
        out = pa.BufferOutputStream()
        with pa.ipc.new_file(out, self.ROWS.schema) as writer:
            writer.write_table(self.ROWS)
        content = out.getvalue().to_pybytes()
        server.say({"drop": True}, {"body": content})
        for name in ("map.arrow", "map.parquet", "map.csv"):
            assert ask(server.url, "save_map", "job_1", tmp_path / name) == tmp_path / name
        assert {seen.path for seen in server.seen} == {"/jobs/job_1/map/points.arrow"} and len(server.seen) == 4
        assert (tmp_path / "map.arrow").read_bytes() == content
        assert pq.read_table(tmp_path / "map.parquet").to_pylist() == self.ROWS.to_pylist()
        shown = pyarrow.csv.read_csv(tmp_path / "map.csv").to_pylist()
        assert shown == [{"path": "a/1.png", "folder": "a", "x": 0.5}, {"path": "b/2.png", "folder": "b", "x": 1.5}]

    def test_what_fails_leaves_no_file(self, server: Any, ask: Ask, tmp_path: Path) -> None:
        server.say({"status": 404, "body": {"detail": "no"}})
        for name in ("map.arrow", "map.csv"):
            with pytest.raises(NotFound):
                ask(server.url, "save_map", "job_1", tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    def test_asked(self, server: Any, ask: Ask) -> None:
        server.say({"body": {"id": "job_2", "status": "queued"}})
        assert ask(server.url, "make_map", "job_1", seed=3).id == "job_2"
        assert ask(server.url, "map", "job_2")["id"] == "job_2"
        assert ask(server.url, "map_points", "job_2", order="outlier", path=None)["id"] == "job_2"
        assert ask(server.url, "map_picture", "job_2", 7)["id"] == "job_2"
        assert ask(server.url, "export_rows", "job_2", (1, 2), "cats").startswith(b"{")
        assert [(seen.method, seen.path, seen.body and seen.json()) for seen in server.seen] == [
            ("POST", "/jobs", {"kind": "map", "vectors": "job_1", "seed": 3}),
            ("GET", "/jobs/job_2/map", b""),
            ("GET", "/jobs/job_2/map/points?order=outlier", b""),
            ("GET", "/jobs/job_2/map/points/7", b""),
            ("POST", "/jobs/job_2/map/export", {"rows": [1, 2], "format": "csv", "name": "cats"}),
        ]


def test_an_id_cannot_reach_another_route(ask: Ask) -> None:
    for name, *more in (("dataset",), ("delete_dataset",), ("test_webhook",), ("deliveries",), ("map",), ("map_picture", 1)):
        with pytest.raises(UsageError, match="not an id"):
            ask(f"http://127.0.0.1:{free_port()}", name, "..", *more)


def test_a_session_with_the_real_thing(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cats").mkdir()
    for name, content in pictures(2).items():
        (tmp_path / "cats" / Path(name).name).write_bytes(content)
    (tmp_path / "none.zip").write_bytes(zipped({"a.txt": b"x"}))

    async def session(address: str) -> None:
        async with AsyncClient(address) as client:
            made = await client.upload_dataset(archive)
            again, folder = await asyncio.gather(client.upload_dataset(archive), client.upload_dataset(tmp_path / "cats"))
            assert again == made and folder.name == "cats"
            assert [each.id async for each in client.datasets()] == [folder.id, made.id]
            assert (await client.datasets(limit=1).to_dicts())[0]["name"] == "cats"
            await client.delete_dataset(made.id)
            with pytest.raises(NotFound):
                await client.dataset(made.id)
            with pytest.raises(Rejected, match="no pictures"):
                await client.upload_dataset(tmp_path / "none.zip")
            with pytest.raises(UsageError, match="no ZIP"):
                await client.upload_dataset(tmp_path / "cats" / Path(next(iter(pictures(2)))).name)

    running = Service(tmp_path / "home", tmp_path / "cats", free_port())
    try:
        running.start_api()
        asyncio.run(session(running.address))
    finally:
        running.close()
