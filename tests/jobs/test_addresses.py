"""Where the service may send to: by the numbers of each kind of address, in every way that they can be written."""

from __future__ import annotations

import socket

import pytest

from jobs.addresses import NotAllowedAddress, checked, networks, resolve, why_not
from jobs.settings import Settings

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",  # shared address space
    "192.0.2.1",  # documentation
    "198.18.0.1",  # benchmarking
    "240.0.0.1",
    "::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fec0::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2001:0:53aa:64c:0:0:80ff:fffe",  # Teredo of 127.0.0.1
]
LINK_LOCAL = ["169.254.169.254", "fe80::1", "fe80::1%lo", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]
NOBODY = ["0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert why_not(address) is None


@pytest.mark.parametrize("address", [*PRIVATE, *LINK_LOCAL, *NOBODY])
def test_all_others_are_refused(address: str) -> None:
    assert why_not(address) is not None


def test_private_networks_may_be_let_in_and_no_others() -> None:
    ours = networks("10.1.0.0/16, fd00::/8")
    assert why_not("10.1.2.3", ours) is None and why_not("::ffff:10.1.2.3", ours) is None and why_not("fd00::5", ours) is None
    assert why_not("10.2.2.3", ours) is not None and why_not("127.0.0.1", ours) is not None


def test_all_lets_in_what_is_private_but_not_a_cloud_s_metadata() -> None:
    everything = networks("all")
    assert all(why_not(address, everything) is None for address in PRIVATE)
    assert all(why_not(address, everything) is not None for address in [*LINK_LOCAL, *NOBODY])
    assert why_not("169.254.1.1", networks("169.254.1.0/24")) is None, "named itself"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:8000",
        "https://a.localhost/",
        "http://[::1]/",
        "http://2130706433/",  # 127.0.0.1
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://[::ffff:7f00:1]/",
        "http://169.254.169.254/latest/meta-data",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://user:secret@example.org/",
        "https://example.org/#there",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://",
        "example.org",
        "https://exa mple.org/",
        "https://exämple.org/",
        "https://example.org/\r\nHost: evil",
        "https://[::1",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_urls_that_tell_by_themselves(url: str) -> None:
    with pytest.raises(ValueError):
        checked(url)


def test_other_urls_pass() -> None:
    for url in ("https://example.org", "https://hooks.example.org:8443/a/b?c=d", "http://8.8.8.8/", "https://[2606:4700::1]/"):
        checked(url)
    checked("http://127.0.0.1:5000/", networks("127.0.0.0/8"))


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers with a public and a private address hopes that the second is tried."""

    def answers(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with pytest.raises(NotAllowedAddress, match=r"10\.0\.0\.1 is not a public address"):
        resolve("example.org", 443)
    assert resolve("example.org", 443, networks("10.0.0.0/8")) == ["8.8.8.8", "10.0.0.1"]


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        Settings(outbound_private="10.0.0.0/33")
