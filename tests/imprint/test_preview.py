"""`imprint preview` and Client.preview: the right requests, the file that is written, and the errors before any request."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from imprint import cli
from imprint.client import Client
from imprint.errors import ImprintError, NotFound, Rejected, UsageError


def png(wide: int = 30, high: int = 20) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (wide, high), (9, 90, 200)).save(file, "PNG")
    return file.getvalue()


def run(*arguments: str) -> str:
    """Standard output, through the same door as the console script."""
    result = CliRunner().invoke(cli.app, ["preview", *arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def drawn(server: Any) -> bytes:
    sheet = png()
    server.say({"body": sheet, "headers": {"Content-Type": "image/png"}})
    return sheet


class TestCommand:
    def test_the_options_are_those_of_train(self, server: Any, drawn: bytes, tmp_path: Path) -> None:
        """What `train` would send as a job, `preview` sends as a preview."""
        spec = tmp_path / "spec.json"
        spec.write_text('{"data": {"source": "digits"}, "augment": {"flip": 0.1, "blur": 0.2}}')
        options = ["--preset", "byol", "--epochs", "5", "--batch-size", "64", "--arch", "resnet50", "--set", "augment.flip=0.5"]
        run(str(spec), *options, "--images", "3", "-o", str(tmp_path / "a.png"), "--server", server.url)
        asked = server.seen[0]
        assert (asked.method, asked.path) == ("POST", "/preview?images=3")
        server.say({"body": {"id": "job_1", "status": "queued"}})
        assert CliRunner().invoke(cli.app, ["train", str(spec), *options, "--detach", "--server", server.url]).exit_code == 0
        assert asked.json() == server.seen[1].json()
        assert asked.json()["augment"] == {"flip": 0.5, "blur": 0.2} and asked.json()["trainer"]["batch_size"] == 64

    def test_says_where_it_wrote_what(self, server: Any, drawn: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        said = run("digits", "--server", server.url)
        assert Path("views.png").read_bytes() == drawn
        assert "views.png: 30 × 20 px" in said
        assert server.seen[0].path == "/preview?images=8" and server.seen[0].json() == {"data": {"source": "digits"}}

    def test_a_job_s_own_sheet(self, server: Any, drawn: bytes, tmp_path: Path) -> None:
        out = tmp_path / "a.png"
        run("job_1", "-o", str(out), "--server", server.url)
        assert out.read_bytes() == drawn
        assert (server.seen[0].method, server.seen[0].path) == ("GET", "/jobs/job_1/preview")

    def test_of_the_newest_job(self, server: Any, tmp_path: Path) -> None:
        job = {"id": "job_7", "status": "running"}
        server.say({"body": {"data": [job], "last_id": "job_7", "has_more": True}}, {"body": png()})
        run("latest", "-o", str(tmp_path / "a.png"), "--server", server.url)
        assert server.seen[1].path == "/jobs/job_7/preview"

    @pytest.mark.parametrize(
        "arguments, said",
        [
            (["job_1", "--preset", "byol"], "drawn already"),
            (["latest", "--images", "3"], "drawn already"),
            (["job_1", "--set", "a.b=1"], "drawn already"),
            (["digits", "-o", "a.jpg"], "must end in .png"),
            (["digits", "-o", "nowhere/a.png"], "there is no folder 'nowhere'"),
            (["digits", "--set", "flip"], "section.field=value"),
        ],
    )
    def test_what_is_asked_wrongly_is_said_before_any_request(self, server: Any, arguments: list[str], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            run(*arguments, "--server", server.url)
        assert server.seen == []

    def test_a_folder_in_the_way(self, server: Any, drawn: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.png").mkdir()
        with pytest.raises(ImprintError, match=r"cannot write .*: Is a directory"):
            run("digits", "-o", str(tmp_path / "a.png"), "--server", server.url)

    def test_has_examples(self) -> None:
        shown = run("--help")
        assert "Examples" in shown and "imprint preview" in shown


class TestClient:
    def test_a_busy_server_is_asked_again(self, server: Any) -> None:
        busy = {"status": 429, "body": {"detail": "busy"}, "headers": {"Retry-After": "0.01"}}
        server.say(busy, busy, {"body": b"the sheet"})
        with Client(server.url) as client:
            assert client.preview(data={"source": "digits"}, images=2) == b"the sheet"
        assert [each.path for each in server.seen] == ["/preview?images=2"] * 3

    def test_a_job_or_a_spec(self, server: Any) -> None:
        with Client(server.url) as client, pytest.raises(UsageError, match="not both"):
            client.preview("job_1", data={"source": "digits"})
        assert server.seen == []

    def test_what_is_wrong_is_an_exception(self, server: Any) -> None:
        server.say(
            {"status": 422, "body": {"detail": "no", "errors": [{"pointer": "/data/path", "detail": "no"}]}},
            {"status": 404, "body": {"detail": "job_1 has no sheet"}},
        )
        with Client(server.url) as client:
            with pytest.raises(Rejected) as caught:
                client.preview(data={"source": "folder", "path": "x"})
            assert caught.value.problems[0].pointer == "/data/path"
            with pytest.raises(NotFound, match="has no sheet"):
                client.preview("job_1")
