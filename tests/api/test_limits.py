"""Limits of number, size and time: each refusal says what the limit is; who is slow keeps nobody waiting."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.limits import Rate
from api.protocol import HEAD_LIMIT, bounded
from jobs.keys import Keys


class Transport(asyncio.Transport):
    """What a protocol writes, kept."""

    def __init__(self):
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


DRIPS = 500  # slow connections


class TestRate:
    def test_by_hand(self):
        """2 a second, 3 at once: three go, the fourth waits half a second, after which one goes; after long, three again."""
        rate = Rate(2, 3)
        assert [rate.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 0.5]
        assert rate.take("b", 10.0) == 0, "another key has a bucket of its own"
        assert rate.take("a", 10.25) == pytest.approx(0.25)
        assert rate.take("a", 10.5) == 0 and rate.take("a", 10.5) == pytest.approx(0.5)
        assert [rate.take("a", 1000.0) > 0 for _ in range(4)] == [False, False, False, True]

    def test_without_one_anything_goes(self):
        assert not any(Rate(0, 1).take("a", 0.0) for _ in range(1000))

    def test_over_http(self, start, tmp_path):
        with start(tmp_path, rate_per_second=0.5, rate_burst=3) as running:
            keys = Keys(running.repository.database)
            mine, other = ({"Authorization": f"Bearer {keys.create(name)[0]}"} for name in ("mine", "other"))
            answers = [running.http.get("/jobs", headers=mine) for _ in range(4)]
            assert [each.status_code for each in answers] == [200, 200, 200, 429]
            assert "0.5 requests a second" in answers[3].json()["detail"] and int(answers[3].headers["retry-after"]) <= 2
            assert running.http.get("/jobs", headers=other).status_code == 200
            assert all(running.http.get("/livez").status_code == 200 for _ in range(10))


def test_jobs_in_the_queue(start, tmp_path):
    with start(tmp_path, max_queued=2) as running:
        first, _ = (running.http.post("/jobs", json={"data": {"source": "digits"}}) for _ in range(2))
        refused = running.http.post("/jobs", json={"data": {"source": "digits"}})
        assert refused.status_code == 429 and "2 jobs wait" in refused.json()["detail"] and "retry-after" in refused.headers
        assert running.http.post("/jobs?validate_only=true", json={"data": {"source": "digits"}}).status_code == 200
        running.http.post(f"/jobs/{first.json()['id']}/cancel")
        assert running.http.post("/jobs", json={"data": {"source": "digits"}}).status_code == 202


@pytest.fixture(scope="module")
def hurried(start, tmp_path_factory) -> Iterator[Callable[[], socket.socket]]:
    """connect() to a service that waits a second for heads and bodies."""
    with start(tmp_path_factory.mktemp("hurried"), head_seconds=1, body_seconds=1) as running:
        url = running.http.base_url

        def connect() -> socket.socket:
            return socket.create_connection((url.host, url.port), timeout=20)

        yield connect


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


class TestSlow:
    @pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-"])
    def test_heads(self, hurried, sent):
        with hurried() as connection:
            connection.sendall(sent)
            begun = time.monotonic()
            assert answer(connection) == b""
            assert time.monotonic() - begun < 10

    def test_the_head_of_a_second_request(self, hurried):
        with hurried() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            said = b""
            while not said.endswith(b"ok\n"):
                said += connection.recv(65536)
            connection.sendall(b"GET /live")
            assert answer(connection) == b""

    def test_bodies(self, hurried):
        with hurried() as connection:
            head = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            connection.sendall(head)
            said = answer(connection)
            assert said.startswith(b"HTTP/1.1 408") and b"within 1 s" in said

    def test_a_body_that_nobody_reads_any_more(self, hurried):
        """Refused because of its type, it goes on dripping: no longer than a head may."""
        with hurried() as connection:
            connection.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n")
            assert b" 415 " in connection.recv(65536).split(b"\r\n")[0]
            begun = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - begun < 10:
                    connection.sendall(b"x")
                    time.sleep(0.05)

    def test_an_event_stream_may_take_its_time(self, hurried, start, tmp_path):
        with start(tmp_path, head_seconds=0.5, body_seconds=0.5) as running:
            job = running.http.post("/jobs", json={"data": {"source": "digits"}}).json()
            begun = time.monotonic()
            with running.http.stream("GET", job["links"]["events"], headers={"Accept": "text/event-stream"}) as stream:
                for line in stream.iter_lines():
                    if line.startswith("event: created"):
                        threading.Timer(1.5, lambda: running.repository.request_cancel(job["id"])).start()
                    if line == "event: end":
                        break
            assert line == "event: end" and time.monotonic() - begun > 1.2


def test_event_streams_of_a_key(start, tmp_path, monkeypatch):
    monkeypatch.setattr("api.job_parts.MOST_STREAMS", 2)
    with start(tmp_path) as running, contextlib.ExitStack() as open_streams:
        keys = Keys(running.repository.database)
        mine, other = ({"Authorization": f"Bearer {keys.create(name, owner='')[0]}"} for name in ("mine", "other"))
        job = running.http.post("/jobs", json={"data": {"source": "digits"}}, headers=mine).json()
        events = {"Accept": "text/event-stream"}
        streams = []
        for _ in range(2):
            stream = running.http.stream("GET", job["links"]["events"], headers={**mine, **events})
            streams.append(open_streams.enter_context(stream).iter_lines())
            assert next(streams[-1]) == "retry: 2000"
        refused = running.http.get(job["links"]["events"], headers={**mine, **events})
        assert refused.status_code == 429 and "2 event streams" in refused.json()["detail"]
        keys.revoke("mine")
        assert all("event: end" not in list(lines) for lines in streams), "they end with their key, not with the job"
        with running.http.stream("GET", job["links"]["events"], headers={**other, **events}) as stream:
            assert next(stream.iter_lines()) == "retry: 2000"
        assert running.services.streams.total() <= 1


class TestHeads:
    @pytest.mark.parametrize("pieces", [1, 40])
    def test_too_large(self, hurried, pieces):
        with hurried() as connection:
            data = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * (HEAD_LIMIT + 100) + b"\r\n\r\n"
            step = len(data) // pieces + 1
            try:
                for begin in range(0, len(data), step):
                    connection.sendall(data[begin : begin + step])
            except OSError:
                pass  # it may have closed before it was told all
            said = answer(connection)
            assert said.startswith(b"HTTP/1.1 431") and b"64 KiB" in said

    def test_a_value_without_end(self, hurried):
        """The parser keeps a line until it ends: what it has not shown yet counts as well."""
        with hurried() as connection, pytest.raises(OSError):
            connection.sendall(b"GET /livez HTTP/1.1\r\nX-Large: ")
            for _ in range(1000):
                connection.sendall(b"a" * 4096)
                time.sleep(0.001)

    def test_a_large_body_that_comes_with_its_head_is_no_head(self):
        """200 KB in one piece, as a connection on the same machine delivers a photograph; three times on one connection."""
        seen = []

        async def app(scope, receive, send):
            length = 0
            while True:
                message = await receive()
                length += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
            seen.append(length)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def run():
            config = uvicorn.Config(app, http=bounded(20.0), log_level="critical")
            config.load()
            protocol = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})
            transport = Transport()
            protocol.connection_made(transport)
            for _ in range(3):
                protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
                await asyncio.sleep(0.05)
            closed = transport.closed
            protocol.connection_lost(None)
            return transport, closed

        transport, closed = asyncio.run(run())
        assert seen == [200_000] * 3 and not closed and transport.written.count(b"HTTP/1.1 204") == 3

    def test_not_too_large(self, hurried):
        with hurried() as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\nX-Large: " + b"a" * (HEAD_LIMIT - 200) + b"\r\n\r\n")
            assert answer(connection).startswith(b"HTTP/1.1 200")


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """Within the block this process may have so many open: both ends of every connection are here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"a process may have {hard} files open here; this takes {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_connections_keep_nobody_waiting(start, tmp_path):
    """Some drip heads, some bodies of every kind; while they do, /livez and a page are answered within a second."""
    heads = [
        b"GET /jobs HTTP/1.1\r\nX-Slow: ",
        b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n',
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    ]
    with many_files(2 * DRIPS + 200), start(tmp_path) as running:
        url = running.http.base_url
        drips = [socket.create_connection((url.host, url.port), timeout=20) for _ in range(DRIPS)]
        try:
            for at, each in enumerate(drips):
                each.sendall(heads[at % len(heads)])
            longest = 0.0
            for _ in range(20):
                for each in drips:
                    each.send(b"a")
                begun = time.monotonic()
                assert running.http.get("/livez").status_code == 200
                longest = max(longest, time.monotonic() - begun)
                assert running.http.get("/jobs").status_code == 200
            print(f"{DRIPS} slow connections: /livez within {1000 * longest:.1f} ms")
            assert longest < 1
        finally:
            for each in drips:
                each.close()
