"""Requests to addresses that users name: where they go, where they do not, and how they end."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.addresses import networks
from support.receivers import Receiver, receiver
from worker import outbound
from worker.outbound import Unsent, send

LOOPBACK = networks("127.0.0.0/8")


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def test_what_is_sent_arrives_as_it_is(other: Receiver) -> None:
    answer = send("POST", f"{other.url}/a/b?c=d", {"X-One": "1"}, "été".encode(), private=LOOPBACK)
    assert answer.status == 204 and answer.ok
    [received] = other.received
    assert (received.method, received.path, received.body.decode()) == ("POST", "/a/b?c=d", "été")
    assert received.headers["host"] == f"127.0.0.1:{other.port}" and received.headers["x-one"] == "1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
def test_this_machine_is_not_reached(other: Receiver, host: str) -> None:
    with pytest.raises(Unsent, match="is not a public address"):
        send("POST", f"http://{host}:{other.port}/", {})
    assert other.received == []


def test_a_name_cannot_change_between_the_check_and_the_connection(other: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when asked first, this machine when asked again. It is asked once, and its answer is used."""
    asked: list[str] = []

    def rebinding(host: str, port: int, *rest: object, **_: object) -> list[object]:
        asked.append(host)
        address = "192.88.99.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connects(address: tuple[str, int], *rest: object, **_: object) -> socket.socket:
        raise OSError(f"tried {address[0]}")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", connects)
    with pytest.raises(Unsent, match=r"192\.88\.99\.1"):
        send("POST", f"http://rebind.example:{other.port}/", {}, private=networks("192.88.99.0/24"))
    assert asked == ["rebind.example"] and other.received == []


def test_a_name_that_resolves_to_this_machine(other: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(host: str, port: int, *rest: object, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with pytest.raises(Unsent, match="is not a public address"):
        send("POST", f"http://innocent.example:{other.port}/", {})
    assert other.received == []
    assert send("POST", f"http://innocent.example:{other.port}/", {}, private=LOOPBACK).status == 204
    assert other.received[0].headers["host"] == f"innocent.example:{other.port}"


def test_redirects_are_answers() -> None:
    with receiver() as inside, receiver(lambda _: (302, {"Location": f"{inside.url}/secret"}, b"")) as outside:
        answer = send("POST", outside.url, {}, private=LOOPBACK)
        assert answer.status == 302 and not answer.ok and inside.received == []


def test_a_proxy_of_the_environment_is_not_used(other: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert send("POST", other.url, {}, private=LOOPBACK).status == 204


def test_a_long_answer_is_cut() -> None:
    with receiver(lambda _: (200, {}, b"x" * 5_000_000)) as verbose:
        assert len(send("POST", verbose.url, {}, private=LOOPBACK).body) == 64 * 1024


@pytest.mark.parametrize("drips", ["head", "body", "silence"])
def test_a_slow_answer_has_an_end(drips: str) -> None:
    """One byte every 50 ms keeps every single read happy; the whole has a deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if drips == "body":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not over.wait(0.05):
                    try:
                        if drips != "silence":
                            connection.sendall(b"H" if drips == "body" else b"HTTP/1.1 200 OK\r\nX: "[:1])
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(Unsent):
            send("POST", f"http://127.0.0.1:{listener.getsockname()[1]}/", {}, private=LOOPBACK, seconds=0.5)
        assert time.monotonic() - began < 2
        over.set()
        thread.join(5)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unsent, match="refused"):
        send("POST", f"http://127.0.0.1:{port}/", {}, private=LOOPBACK)
    with pytest.raises(Unsent, match=r"URL|host|resolve|known"):
        send("POST", "http://no.such.host.invalid/", {})


def test_certificates_are_verified_for_the_name_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection goes to an address, it is the name that the certificate has to have."""
    pem = tmp_path / "both.pem"
    made = [
        "-keyout",
        str(pem),
        "-out",
        str(tmp_path / "c.pem"),
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
        *made,
    ]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + (tmp_path / "c.pem").read_bytes())
    with receiver(tls=pem) as there:
        with pytest.raises(Unsent, match=r"(?i)certificate"):
            send("POST", f"https://localhost:{there.port}/", {}, private=LOOPBACK)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
        monkeypatch.setattr(outbound, "_context", lambda: trusting)
        assert send("POST", f"https://localhost:{there.port}/", {}, private=LOOPBACK).status == 204
        with pytest.raises(Unsent, match=r"(?i)certificate"):
            send("POST", f"https://127.0.0.1:{there.port}/", {}, private=LOOPBACK)
        assert len(there.received) == 1
