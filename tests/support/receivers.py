"""A server that takes what the service sends out, and answers as a test says: real sockets, on loopback."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`answer(number)` gives the status of the request with that number, counted from 0, or (status, headers, body)."""

    answer: Callable[[int], Any] = lambda number: 204
    received: list[Received] = field(default_factory=list)
    most_at_once: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def receiver(
    answer: Callable[[int], Any] = lambda number: 204, *, seconds: float = 0, tls: Path | None = None
) -> Iterator[Receiver]:
    """Run one. seconds: before each answer. tls: a file with a key and a certificate."""
    state, lock, under_way = Receiver(answer), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                under_way[0] += 1
                state.most_at_once = max(state.most_at_once, under_way[0])
                number = len(state.received)
                headers = {name.lower(): value for name, value in self.headers.items()}
                state.received.append(Received(self.command, self.path, headers, body))
            time.sleep(seconds)
            said = state.answer(number)
            status, more, content = said if isinstance(said, tuple) else (said, {}, b"")
            with lock:
                under_way[0] -= 1
            with contextlib.suppress(OSError):  # the other side may have given up
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        state.scheme = "https"
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
