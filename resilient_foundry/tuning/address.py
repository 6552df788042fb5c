"""Whose address is it: load belongs on one's own machine, unless somebody says otherwise."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from resilient_foundry.origin import DEFAULT_PORTS

_SECONDS = 5.0


class NotYoursError(ValueError):
    """The address is not known to be of this machine, so no load is put on it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL leads, looked up once: what was judged is what is loaded, whatever the name says later."""

    host: str
    port: int
    ip: str
    is_own: bool
    """Whether it is of this machine."""


def find(url: str, *, allow_any: bool = False) -> Address:
    """The address behind a URL that takes connections.

    Raises `NotYoursError` where any address of its name is not of this machine, unless `allow_any`, and OSError where
    the name is unknown or nobody listens.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        seen = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"the name {host} leads to no address ({error.strerror or error})") from None
    found = list(dict.fromkeys(str(each[4][0]) for each in seen))
    foreign = [one for one in found if not is_own(one)]
    if foreign and not allow_any:
        leads = f"{host} is" if foreign == [host] else f"{host} leads to {foreign[0]}, which is"
        raise NotYoursError(
            f"{leads} not an address of this machine, and nothing was sent to it; "
            "if that server is yours to load, say --load-this-server"
        )
    return Address(host, port, _listening(found, port), not foreign)


def is_own(ip: str) -> bool:
    """Whether an address is of this machine: loopback, or private and one that this machine can listen on."""
    address = ip_address(ip.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return True
    return address.is_private and not address.is_unspecified and not address.is_multicast and _can_bind(address)


def _can_bind(address: IPv4Address | IPv6Address) -> bool:
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _listening(addresses: Sequence[str], port: int) -> str:
    """The first of them that takes a connection, as some servers listen on one of two that `localhost` has."""
    failed = OSError("the name has no address")
    for ip in addresses:
        try:
            with socket.create_connection((ip, port), timeout=_SECONDS):
                return ip
        except OSError as error:
            failed = error
    raise OSError(f"nothing listens at port {port} of {addresses[0]} ({failed.strerror or failed})") from None
