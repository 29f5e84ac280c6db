"""Between a client and PostgreSQL, on unix sockets: passes everything on, and can break the connection at the worst moment."""

from __future__ import annotations

import contextlib
import selectors
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class Proxy:
    """Listens as a PostgreSQL of its own would; one thread for each connection."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="imprint-proxy-"))  # short: a socket lies in it
        self.server = server
        self.cuts = 0
        self._left = 0  # commits until the cut; 0: none
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cut_after_commit(self, which: int) -> None:
        """Let the `which`-th commit from now reach the server, and its answer not the client."""
        with self._lock:
            self._left, self.cuts = which, 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            server.connect(str(self.server))
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    target.sendall(data)
                    if source is client and b"COMMIT\0" in data and self._now():
                        server.recv(1 << 16)  # it has committed
                        return

    def _now(self) -> bool:
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            self.cuts += self._left == 0
            return self._left == 0
