"""What takes a while on this machine is done beside the event loop: files are read and written, archives unpacked, tables made.

Each case has the function that does it wait until something else has happened on the loop: done *on* the loop, it would wait
in vain.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imprint import AsyncClient, images, leaving, maps, results
from imprint.errors import NotFound
from imprint.flow import Upload, Work

PATIENCE = 10.0  # seconds after which the loop stands still
JOB = {"body": {"id": "job_1", "status": "queued"}}
ENCODERS = {"body": {"data": [{"id": "enc_1"}]}}


def parquet(count: int) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"path": [f"{number}.png" for number in range(count)]}), out)
    return out.getvalue()


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("model.onnx", b"graph")
    return out.getvalue()


def arrow() -> bytes:
    out = pa.BufferOutputStream()
    table = pa.table({"path": ["a.png"], "nearest": pa.array([[0]]), "cosine": pa.array([[1.0]])})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue().to_pybytes())


def npy(rows: int) -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros((rows, 2), np.float32))
    return out.getvalue()


ARCHIVE = archive()
PART = {"file": "part-00000.parquet", "href": "/jobs/job_1/vectors/part-00000.parquet"}
DIGEST = {"Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(ARCHIVE).digest()).decode()}:"}
# What is done; where (an object and a name); what the server answers; and what it comes to.
CASES: dict[
    str, tuple[Callable[[AsyncClient, Path], Awaitable[Any]], tuple[Any, str], list[dict[str, Any]], Callable[[Any], Any]]
]
CASES = {
    "vectors are joined": (
        lambda client, folder: client.save_vectors("job_1", folder / "all.parquet"),
        (pq.ParquetWriter, "write_table"),
        [{"body": {"data": [PART, PART]}}, {"body": parquet(3)}, {"body": parquet(3)}],
        lambda path: pq.read_table(path).num_rows == 6,
    ),
    "vectors reach the disk": (
        lambda client, folder: client.save_vectors("job_1", folder / "all.parquet"),
        (os, "fsync"),
        [{"body": {"data": [PART]}}, {"body": parquet(3)}],
        lambda path: pq.read_table(path).num_rows == 3,
    ),
    "an export is verified": (
        lambda client, folder: client.export("enc_1", "onnx", folder / "out"),
        (leaving, "_verify"),
        [{"body": ARCHIVE, "headers": DIGEST}],
        lambda path: (path / "model.onnx").read_bytes() == b"graph",
    ),
    "an export is unpacked": (
        lambda client, folder: client.export("enc_1", "onnx", folder / "out"),
        (leaving, "_unpack"),
        [{"body": ARCHIVE}],
        lambda path: (path / "model.onnx").read_bytes() == b"graph",
    ),
    "an encoder is saved": (
        lambda client, folder: client.download("enc_1", folder / "encoder.zip"),
        (os, "fsync"),
        [{"body": ARCHIVE}],
        lambda path: path.read_bytes() == ARCHIVE,
    ),
    "a map is converted": (
        lambda client, folder: client.save_map("job_1", folder / "map.parquet"),
        (maps, "_convert"),
        [{"body": arrow()}],
        lambda path: pq.read_table(path).num_rows == 1,
    ),
    "pictures are read": (
        lambda client, folder: client.embed([_file(folder), _file(folder)], "enc_1"),
        (images, "read"),
        [{"body": npy(2)}],
        lambda vectors: vectors.shape == (2, 2),
    ),
    "pictures are read one after the other": (
        lambda client, folder: client.embed_each([_file(folder), folder / "gone.png"], "enc_1").all(),
        (images, "read"),
        [{"body": {"data": [{"embedding": base64.b64encode(bytes(8)).decode()}]}}],
        lambda answers: [answer.error is None for answer in answers] == [True, False],
    ),
    "a picture is read": (
        lambda client, folder: _search(client, _file(folder)),
        (images, "read"),
        [ENCODERS, {"body": {"data": [{"path": "b.png", "score": 0.5}]}}],
        lambda found: found[0].path == "b.png",
    ),
    "weights are read": (
        lambda client, folder: client.import_encoder(_file(folder)),
        (Upload, "read"),
        [JOB],
        lambda job: job.id == "job_1",
    ),
    "a table is made": (
        lambda client, folder: client.jobs().to_arrow(),
        (results, "to_arrow"),
        [{"body": {"data": [JOB["body"]], "has_more": False}}],
        lambda table: table.column("id").to_pylist() == ["job_1"],
    ),
}


def _file(folder: Path) -> Path:
    (folder / "a.png").write_bytes(b"a picture")
    return folder / "a.png"


async def _search(client: AsyncClient, picture: Path) -> Any:
    return await (await client.index("latest")).search(picture)


@pytest.mark.parametrize("case", CASES)
def test_the_loop_goes_on_meanwhile(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    act, (owner, name), answers, right = CASES[case]
    ticked, waited = threading.Event(), []
    really = getattr(owner, name)

    def slow(*given: Any, **more: Any) -> Any:
        assert ticked.wait(PATIENCE), "the loop stands still"
        waited.append(threading.current_thread())
        return really(*given, **more)

    monkeypatch.setattr(owner, name, slow)

    async def tick() -> None:
        await asyncio.sleep(0.05)
        ticked.set()

    async def session() -> Any:
        async with AsyncClient(server.url) as client:
            done, _ = await asyncio.gather(act(client, tmp_path), tick())
            return done

    server.say(*answers)
    assert right(asyncio.run(session()))
    assert waited[0] is not threading.main_thread()


def test_progress_is_told_on_the_loop(server: Any, tmp_path: Path) -> None:
    """Whoever shows it need not think of threads."""
    (tmp_path / "weights.ckpt").write_bytes(bytes(600_000))
    said: list[tuple[int, threading.Thread]] = []

    async def session() -> None:
        async with AsyncClient(server.url) as client:
            told = lambda sent: said.append((sent, threading.current_thread()))  # noqa: E731
            await client.import_encoder(tmp_path / "weights.ckpt", on_progress=told)

    server.say(JOB)
    asyncio.run(session())
    assert [sent for sent, _ in said] == [2**18, 2**19, 600_000]
    assert {thread for _, thread in said} == {threading.main_thread()}


def test_who_cancels_waits_for_the_work_under_way(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the folder that is unpacked into would be removed under it."""
    begun, go_on = threading.Event(), threading.Event()
    really = leaving._unpack

    def slow(packed: Path, folder: Path) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        really(packed, folder)

    monkeypatch.setattr(leaving, "_unpack", slow)

    async def session() -> None:
        async with AsyncClient(server.url) as client:
            export = asyncio.create_task(client.export("enc_1", "onnx", tmp_path / "out"))
            await asyncio.to_thread(begun.wait, PATIENCE)
            export.cancel()
            await asyncio.sleep(0.05)
            assert not export.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await export

    server.say({"body": ARCHIVE})
    asyncio.run(session())
    assert list(tmp_path.iterdir()) == []


def test_what_fails_in_the_thread_fails_here(tmp_path: Path) -> None:
    from imprint.aio_transport import AsyncTransport

    def fail() -> None:
        raise OSError("no room")

    async def session() -> None:
        transport = AsyncTransport("http://127.0.0.1:9", None, 1)
        with pytest.raises(OSError, match="no room"):
            await transport.performer()(Work(fail))
        await transport.close()

    asyncio.run(session())


def test_vectors_that_break_off_leave_nothing(server: Any, tmp_path: Path) -> None:
    """Neither a file nor a writer that complains when it is collected."""

    async def session() -> None:
        async with AsyncClient(server.url) as client:
            with pytest.raises(NotFound):
                await client.save_vectors("job_1", tmp_path / "all.parquet")

    server.say({"body": {"data": [PART, PART]}}, {"body": parquet(3)}, {"status": 404, "body": {"detail": "gone"}})
    asyncio.run(session())
    gc.collect()
    assert list(tmp_path.iterdir()) == []
