from __future__ import annotations

import socket

import pytest

from resilient_foundry.tuning import address
from resilient_foundry.tuning.address import NotYoursError, find, is_own


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_ones_own(ip: str) -> None:
    assert is_own(ip)


@pytest.mark.parametrize(
    "ip", ["192.0.2.1", "10.255.255.254", "8.8.8.8", "fe80::1%lo", "2001:db8::1", "0.0.0.0", "224.0.0.1"]
)
def test_an_address_that_this_machine_does_not_have_is_not(ip: str) -> None:
    """A private address may be a neighbour's; one that is public, or for many, is never meant."""
    assert not is_own(ip)


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if one of its addresses is of this machine: a connection might go to the other."""

    def leads(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        assert host == "my-laptop.example"
        return [(2, 1, 6, "", ("127.0.0.1", port)), (2, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", leads)
    with pytest.raises(NotYoursError) as refused:
        find("http://my-laptop.example:8000")
    assert str(refused.value) == (
        "my-laptop.example leads to 192.0.2.1, which is not an address of this machine, and nothing was sent to it; "
        "if that server is yours to load, say --load-this-server"
    )


def test_what_is_judged_is_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is looked up once, so a name that leads elsewhere later leads nobody there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        look_up, asked = socket.getaddrinfo, list[str]()

        def leads(host: str, port: int, *more: int, **named: int) -> object:
            asked.append(host)
            if host != "localhost":
                return look_up(host, port, *more, **named)
            return [(10, 1, 6, "", ("::1", port, 0, 0)), (2, 1, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", leads)
        found = find(f"http://localhost:{port}")
    assert asked.count("localhost") == 1
    assert (found.ip, found.port, found.is_own) == ("127.0.0.1", port, True)


def test_who_says_so_may_load_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: str) -> bool:
        return False

    monkeypatch.setattr(address, "is_own", never)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = find(f"http://127.0.0.1:{listening.getsockname()[1]}", allow_any=True)
    assert not found.is_own


def test_a_port_on_which_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(OSError, match=rf"nothing listens at port {port} of 127.0.0.1 \(Connection refused\)"):
        find(f"http://127.0.0.1:{port}")
