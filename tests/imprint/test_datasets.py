"""`imprint datasets` and the client's calls, against the real API in a process of its own, which is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from imprint import datasets, flow
from imprint.cli import app
from imprint.client import Client
from imprint.errors import Conflict, NotFound, Rejected, UsageError
from support.archives import pictures, png, zipped
from support.composed import free_port


class Api:
    """`python -m api`, to be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.process = home, free_port(), None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
        self.env = {**inherited, "IMPRINT_HOME": str(home), "IMPRINT_PORT": str(self.port)}
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.home / "api.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-P", "-m", "api"], env=self.env, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/livez").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail((self.home / "api.log").read_text())

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(30)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = Api(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.end(signal.SIGTERM)


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    with Client(api.url) as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "pets.zip"
    file.write_bytes(zipped({**pictures(), "notes.txt": b"x", "noise.png": png(1, 1000)}))
    return file


class TestClient:
    def test_upload_list_delete(self, client, archive):
        said: list[tuple[int, int]] = []
        made = client.upload_dataset(archive, on_progress=lambda sent, total: said.append((sent, total)))
        assert (made.name, made.path, made.left_out) == ("pets", None, 1) and (made.images or 0) + (made.held_out or 0) == 17
        assert said[-1] == (archive.stat().st_size, archive.stat().st_size) and sorted(said) == said and len(said) > 5
        assert client.dataset(made.id) == made and made in list(client.datasets())
        assert client.upload_dataset(archive).id == made.id, "the same file, once more"
        assert client.upload_dataset(archive, "others").id != made.id
        job = client.submit(data={"source": "dataset", "id": made.id}, trainer={"max_epochs": 1, "batch_size": 4})
        with pytest.raises(Conflict, match=job.id):
            client.delete_dataset(made.id)
        client.cancel(job.id)
        client.delete_dataset(made.id)
        with pytest.raises(NotFound):
            client.dataset(made.id)
        assert client.upload_dataset(archive).id != made.id, "deleted, it may come again"

    def test_a_folder(self, client, tmp_path):
        for name, content in {**pictures(3), ".hidden/a.png": png(0), "notes.txt": b"x"}.items():
            (tmp_path / "cats" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cats" / name).write_bytes(content)
        made = client.upload_dataset(tmp_path / "cats")
        assert made.name == "cats" and made.classes == 2 and made.left_out == 0

    def test_refused(self, client, tmp_path):
        (tmp_path / "a.zip").write_bytes(b"nothing")
        for path in (tmp_path / "a.zip", tmp_path / "nowhere"):
            with pytest.raises(UsageError):
                client.upload_dataset(path)
        (tmp_path / "b.zip").write_bytes(zipped({"a.txt": b"x"}))
        with pytest.raises(Rejected, match="no pictures"):
            client.upload_dataset(tmp_path / "b.zip")

    def test_goes_on_when_the_server_was_killed(self, tmp_path, monkeypatch):
        """In the middle of the body, with SIGKILL, and started again: the second request sends the rest."""
        api = Api(tmp_path / "home")
        api.home.mkdir()
        api.start()
        file = tmp_path / "large.zip"
        file.write_bytes(zipped({f"{number}.png": png(number, 600) for number in range(16)}))
        size, killed = file.stat().st_size, []
        monkeypatch.setattr(datasets, "PAUSES", (0.1, 5.0, 5.0))
        starts: list[int] = []
        really = flow.Upload.pieces

        def pieces(upload):
            starts.append(upload.begin)
            return really(upload)

        def progress(sent: int, total: int) -> None:
            if sent > total * 2 // 3 and not killed:
                killed.append(sent)
                time.sleep(0.5)  # what was sent arrives
                api.end(signal.SIGKILL)
                api.start()

        monkeypatch.setattr(flow.Upload, "pieces", pieces)
        try:
            with Client(api.url) as client:
                made = client.upload_dataset(file, on_progress=progress)
                assert (made.images or 0) + (made.held_out or 0) == 16
        finally:
            api.end(signal.SIGTERM)
        assert starts[0] == 0 and len(starts) == 2 and size // 3 < starts[1] < size
        assert {each.name for each in (api.home / "datasets").iterdir()} == {made.id, ".uploads"}
        assert list((api.home / "datasets/.uploads").iterdir()) == []


class TestCommand:
    def run(self, api, *words):
        done = CliRunner().invoke(app, ["--server", api.url, "datasets", *words], catch_exceptions=True)
        return done

    def test_a_session(self, api, archive):
        done = self.run(api, "upload", str(archive), "--name", "mine")
        assert done.exit_code == 0 and "17 pictures, 1 other files left out" in done.output
        made = next(word.rstrip(":") for word in done.output.split() if word.startswith("ds_"))
        assert f"imprint train {made}" in done.output
        listed = self.run(api, "list")
        assert made in listed.output and "mine" in listed.output and "upload" in listed.output
        assert f'"id": "{made}"' in self.run(api, "list", "--json").output
        assert f"deleted {made}" in self.run(api, "delete", made).output
        assert made not in self.run(api, "list").output
        assert isinstance(self.run(api, "delete", made).exception, NotFound)
