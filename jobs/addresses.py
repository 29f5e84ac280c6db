"""Where the service may send anything of its own accord: the one rule for webhooks and for trackers that users name.

Public addresses only, unless IMPRINT_OUTBOUND_PRIVATE lets some networks in. What counts is the address that a name resolves to
at the moment of the connection (`worker/outbound.py`); what can be told from the URL alone is told when it is given.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ALL = "all"
MOST_LETTERS = 2000
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_LINK_LOCAL = (ipaddress.IPv4Network("169.254.0.0/16"), ipaddress.IPv6Network("fe80::/10"))  # with clouds' metadata
_EVERYTHING: tuple[Network, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
EVERYWHERE: tuple[Network, ...] = (*_EVERYTHING, *_LINK_LOCAL)  # for what the operator names
_LEGACY = re.compile(r"[0-9a-fx.]+")


class NotAllowedAddress(Exception):
    """The service does not connect to this; the message says why."""


def networks(text: str) -> tuple[Network, ...]:
    """Comma-separated networks such as 10.0.0.0/8, or `all`. Raises ValueError."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if ALL in parts:
        return _EVERYTHING
    return tuple(ipaddress.ip_network(part) for part in parts)


def why_not(address: str, private: Iterable[Network] = ()) -> str | None:
    """Why the service does not connect to an address, or None if it does.

    private: networks that are allowed although they are not public. `all` does not reach link-local addresses, where clouds
    answer with credentials; a network within them has to be named itself.
    """
    ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_multicast or ip.is_unspecified or ip == ipaddress.ip_address("255.255.255.255"):
        return f"{ip} is no single machine's address"
    named = [network for network in private if ip.version == network.version and ip in network]
    if any(ip in link for link in _LINK_LOCAL if link.version == ip.version):
        inside = any(link.version == each.version and each.subnet_of(link) for each in named for link in _LINK_LOCAL)  # type: ignore[arg-type]
        return None if inside else f"{ip} is a link-local address"
    if named or (ip.is_global and not getattr(ip, "is_site_local", False)):
        return None
    return f"{ip} is not a public address"


def checked(url: str, private: Iterable[Network] = ()) -> SplitResult:
    """A URL in its parts, if it is one that may be sent to as far as it tells by itself. Raises ValueError with a sentence."""
    if len(url) > MOST_LETTERS or not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError(f"must be a URL of at most {MOST_LETTERS} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("must begin with https:// (or http://) and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or a password: whoever sees the URL would see them")
    if parts.fragment or port == 0:
        raise ValueError("must have neither a #fragment nor the port 0")
    if (address := _literal(host)) is not None and (reason := why_not(address, private)) is not None:
        raise ValueError(f"{reason}; IMPRINT_OUTBOUND_PRIVATE may allow it")
    return parts


def resolve(host: str, port: int, private: Iterable[Network] = ()) -> list[str]:
    """The addresses of a host, all of which may be connected to. Raises NotAllowedAddress, OSError."""
    private = tuple(private)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if (reason := why_not(address, private)) is not None:
            raise NotAllowedAddress(f"{host}: {reason}; IMPRINT_OUTBOUND_PRIVATE may allow it")
    return addresses


def _plain(ip: Address) -> Address:
    """The IPv4 address within one of IPv6 that only wraps it."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    if wrapped is None and (any(ip in net for net in _NAT64) or (int(ip) >> 32 == 0 and int(ip) > 1)):
        wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return wrapped or ip


def _literal(host: str) -> str | None:
    """The address that a host is, in any way of writing that the system understands; None for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    if _LEGACY.fullmatch(host.lower()) and any(letter.isdigit() for letter in host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))  # 2130706433, 0x7f.1, 127.1
        except OSError:
            return None
    return None
