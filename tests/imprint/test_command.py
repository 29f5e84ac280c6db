"""The command as scripts see it: exit statuses, JSON, pipes, completion; search and embed as ls and grep would be."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from imprint import cli
from imprint.errors import UsageError
from imprint.exits import STATUSES

JOB: dict[str, Any] = {"id": "job_1", "status": "queued", "spec": {}}
ENCODER = {"id": "enc_1", "dim": 2}


@pytest.fixture(autouse=True)
def nobodys_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def ended(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit status, through the console script's own function."""
    monkeypatch.setattr(sys, "argv", ["imprint", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def run(*words: str, given: bytes = b"") -> tuple[int, bytes, str]:
    result = CliRunner().invoke(cli.app, list(words), input=given)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout_bytes, result.stderr


class TestExitStatuses:
    @pytest.mark.parametrize(
        ("status", "code"), [(401, 4), (403, 4), (404, 3), (409, 6), (413, 2), (422, 2), (429, 7), (500, 1), (503, 7), (504, 7)]
    )
    def test_of_what_the_server_says(self, server: Any, monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
        server.say({"status": status, "body": {"detail": "so it is"}})
        assert ended(monkeypatch, "cancel", "job_1", "--server", server.url) == code
        assert code in STATUSES

    def test_of_what_happens_here(self, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server.say({"body": JOB}, {"body": {**JOB, "status": "failed"}})
        assert ended(monkeypatch, "watch", "job_1", "--json", "--server", server.url) == 1
        server.say({"body": {"data": [], "has_more": False}})
        assert ended(monkeypatch, "embed", str(tmp_path), "--server", server.url) == 2  # no pictures there
        assert ended(monkeypatch, "export", "latest", "-o", str(tmp_path / "x"), "--server", server.url) == 3  # no encoder yet
        assert ended(monkeypatch, "jobs", "--nonsense") == 2
        assert ended(monkeypatch, "jobs", "--server", "http://127.0.0.1:9") == 5
        assert ended(monkeypatch, "version") == 0


def commands(group: Any, above: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    found = []
    for name, each in group.commands.items():
        found += commands(each, (*above, name)) if hasattr(each, "commands") else [(" ".join((*above, name)), each)]
    return found


def test_json_everywhere() -> None:
    """But for what runs until it is stopped, and what prints a script for a shell."""
    every = commands(typer.main.get_command(cli.app))
    without = {name for name, each in every if not any("--json" in option.opts for option in each.params)}
    assert without == {"up", "completion"} and len(every) > 20


class TestPipes:
    def test_a_reader_that_leaves_is_no_error(self, server: Any, tmp_path: Path) -> None:
        """`imprint jobs --json | head -1`, with more than a pipe holds. About 1 s: a real process."""
        server.say({"body": {"data": [{**JOB, "name": "x" * 50_000}] * 20, "has_more": False}})
        command = [sys.executable, "-m", "imprint", "jobs", "--json", "--server", server.url]
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(60) == 1


class TestCompletion:
    @pytest.mark.parametrize(
        ("shell", "part"), [("bash", "complete "), ("zsh", "#compdef imprint"), ("fish", "complete --command")]
    )
    def test_prints_a_script(self, shell: str, part: str) -> None:
        code, shown, _ = run("completion", shell)
        assert code == 0 and part in shown.decode() and "_IMPRINT_COMPLETE" in shown.decode()

    def test_other_shells_are_a_usage_error(self) -> None:
        assert run("completion", "tcsh")[0] == 2

    def test_the_shell_is_answered(self) -> None:
        """About 1 s: a real process, asked as bash asks."""
        asked = {"_IMPRINT_COMPLETE": "complete_bash", "COMP_WORDS": "imprint exp", "COMP_CWORD": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "imprint"], env={**os.environ, **asked}, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.split() == ["export"], done.stderr


def png(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path)
    return path


def packed(*rows: tuple[float, float] | None) -> dict[str, Any]:
    """An answer of /embed with base64."""
    data = [
        {"embedding": base64.b64encode(np.array(row, "<f4").tobytes()).decode()} if row else {"error": {"message": "broken"}}
        for row in rows
    ]
    return {"body": {"data": data}}


def npy(*row: float) -> dict[str, Any]:
    file = io.BytesIO()
    np.save(file, np.array([row], np.float32))
    return {"body": file.getvalue(), "headers": {"Content-Type": "application/x-npy"}}


FOUND = {"body": {"data": [{"path": "a b.jpg", "score": 0.91234}, {"path": "c.jpg", "score": 0.5}]}}


class TestSearch:
    def test_lines_for_people_and_for_programs(self, server: Any, tmp_path: Path) -> None:
        server.say(FOUND)
        words = ("search", str(png(tmp_path / "q.png")), "--encoder", "enc_1", "--server", server.url)
        assert run(*words)[1] == b"0.9123  a b.jpg\n0.5000  c.jpg\n"
        assert run(*words, "-l")[1] == b"a b.jpg\nc.jpg\n"
        assert run(*words, "-0")[1] == b"a b.jpg\0c.jpg\0"
        assert [json.loads(line) for line in run(*words, "--json")[1].splitlines()][1] == {"path": "c.jpg", "score": 0.5}
        assert run(*words, "--from", "0.6", "-l")[1] == b"a b.jpg\n"
        assert run(*words, "--from", "0.95")[0] == 1
        assert b'name="k"\r\n\r\n3\r\n' in (run(*words, "-n", "3"), server.seen[-1].body)[1]
        with pytest.raises(UsageError, match="two forms of output"):
            run(*words, "-0", "--json")

    def test_a_picture_from_a_pipe(self, server: Any, tmp_path: Path) -> None:
        server.say(FOUND)
        content = png(tmp_path / "q.png").read_bytes()
        assert run("search", "-", "-e", "enc_1", "--server", server.url, given=content)[0] == 0
        assert content in server.seen[-1].body

    def test_through_a_folder(self, server: Any, tmp_path: Path) -> None:
        """By hand: (1, 0) against (0.6, 0.8), (1, 0) and a picture that cannot be read."""
        query = png(tmp_path / "q.png")
        for name in ("a.png", "b.png", "c.png"):
            png(tmp_path / "below" / name)
        words = ("search", str(query), str(tmp_path / "below"), "-e", "enc_1", "--server", server.url)
        server.say({"body": ENCODER}, npy(1, 0), packed((0.6, 0.8), (1, 0), None))
        code, out, err = run(*words)
        assert (code, out.decode()) == (0, f"1.0000  {tmp_path}/below/b.png\n0.6000  {tmp_path}/below/a.png\n")
        assert err == f"left out {tmp_path}/below/c.png: broken\n"
        server.say({"body": ENCODER}, npy(1, 0), packed((0.6, 0.8), (1, 0), None))
        assert run(*words, "-n", "1", "-0")[1] == f"{tmp_path}/below/b.png\0".encode()

    def test_what_is_not_there(self, server: Any) -> None:
        with pytest.raises(UsageError, match=r"there is no picture 'gone\.jpg'"):
            run("search", "gone.jpg", "--server", server.url)


class TestEmbed:
    def test_json_lines_on_standard_output(self, server: Any, tmp_path: Path) -> None:
        good, bad = png(tmp_path / "a.png"), png(tmp_path / "b.png")
        server.say({"body": ENCODER}, packed((1, 2), None))
        code, out, err = run("embed", str(good), str(bad), "-e", "enc_1", "--json", "--server", server.url)
        assert code == 0 and [json.loads(line) for line in out.splitlines()] == [
            {"path": str(good), "embedding": [1.0, 2.0]},
            {"path": str(bad), "error": "broken"},
        ]
        assert f"left out {bad}: broken" in err and not (tmp_path / "vectors.npy").exists()

    def test_names_from_a_pipe(self, server: Any, tmp_path: Path) -> None:
        odd = png(tmp_path / "two\nlines.png")
        server.say({"body": ENCODER}, packed((1, 2)))
        code, out, _ = run("embed", "-0", "--json", "-e", "enc_1", "-", "--server", server.url, given=os.fsencode(odd) + b"\0")
        assert code == 0 and json.loads(out)["path"] == str(odd)

    def test_json_of_what_was_written(self, server: Any, tmp_path: Path) -> None:
        server.say({"body": ENCODER}, packed((1, 2)))
        target = tmp_path / "v.npy"
        _, out, _ = run("embed", str(png(tmp_path / "a.png")), "-o", str(target), "-e", "enc_1", "--json", "--server", server.url)
        assert json.loads(out) == {
            "files": [str(target), str(tmp_path / "v.names.txt")], "encoder": "enc_1", "images": 1, "errors": 0,
        }  # fmt: skip


class TestImport:
    def test_the_file_is_sent_as_it_is(self, server: Any, tmp_path: Path) -> None:
        """And what is said about it; then the job is waited for."""
        content = os.urandom(700_000)  # three pieces
        (tmp_path / "a b.ckpt").write_bytes(content)
        done = {**JOB, "kind": "import", "status": "succeeded", "encoder": "enc_1"}
        server.say({"body": {**JOB, "kind": "import"}}, {"body": done})
        words = ("import", str(tmp_path / "a b.ckpt"), "--arch", "resnet18", "--mean", "0.5,0.5,0.5", "--server", server.url)
        code, out, _ = run(*words, "--json")
        assert code == 0 and json.loads(out)["encoder"] == "enc_1"
        sent = server.seen[0]
        assert sent.path == "/encoders?filename=a+b.ckpt&arch=resnet18&mean=0.5%2C0.5%2C0.5"
        assert sent.body == content and sent.headers["content-type"] == "application/octet-stream"
        with pytest.raises(UsageError, match="there is no file"):
            run("import", "gone.ckpt", "--server", server.url)

    def test_from_an_event_loop(self, server: Any, tmp_path: Path) -> None:
        import asyncio

        from imprint import AsyncClient

        content = os.urandom(600_000)
        (tmp_path / "w.pt").write_bytes(content)
        server.say({"body": {**JOB, "kind": "import"}})

        async def send() -> list[int]:
            told: list[int] = []
            async with AsyncClient(server.url) as client:
                await client.import_encoder(tmp_path / "w.pt", on_progress=told.append)
            return told

        assert asyncio.run(send())[-1] == 600_000 and server.seen[0].body == content


class TestExport:
    def zipped(self, **files: bytes) -> dict[str, Any]:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return {"body": file.getvalue(), "headers": {"Content-Type": "application/zip"}}

    def test_to_a_folder_or_a_zip(self, server: Any, tmp_path: Path) -> None:
        server.say(self.zipped(**{"model.onnx": b"graph", "README.md": b"# Card"}))
        words = ("export", "enc_1", "--format", "onnx", "--server", server.url, "-o")
        code, out, _ = run(*words, str(tmp_path / "out"))
        assert code == 0 and (tmp_path / "out" / "model.onnx").read_bytes() == b"graph" and b"README.md" in out
        assert server.seen[-1].path == "/encoders/enc_1/export?format=onnx"
        assert json.loads(run(*words, str(tmp_path / "out.zip"), "--json")[1]) == {
            "path": f"{tmp_path}/out.zip",
            "format": "onnx",
        }
        assert zipfile.is_zipfile(tmp_path / "out.zip")
        with pytest.raises(UsageError, match="is there already"):
            run(*words, str(tmp_path / "out"))

    def test_what_arrived_wrong_is_not_kept(self, server: Any, tmp_path: Path) -> None:
        words = ("export", "enc_1", "--server", server.url, "-o", str(tmp_path / "out"))
        answer = self.zipped(a=b"x")
        answer["headers"]["Repr-Digest"] = f"sha-256=:{base64.b64encode(b'0' * 32).decode()}:"
        server.say(answer)
        with pytest.raises(Exception, match="its SHA-256 is another"):
            run(*words)
        server.say(self.zipped(**{"../evil": b"x"}))
        with pytest.raises(Exception, match="which is refused"):
            run(*words)
        assert not (tmp_path / "out").exists() and not (tmp_path.parent / "evil").exists()
