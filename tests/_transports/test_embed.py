"""A stack over a client that its library made: nothing of what `transport=` silently drops is lost."""

from __future__ import annotations

import ssl
from collections import Counter
from typing import Any, cast

import pytest

from resilient_foundry import Backoff, CircuitBreaker, CircuitOpenError, Retry, Stack, StackError, wrap
from tests.servers import Handler, Server, replies, script
from tests.ways import LIBRARIES, Client, Way, ledger_of, pool_of

RETRYING = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    """The environment that tests start from."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def kind_of(way: Way) -> type[Any]:
    """The client class of the way."""
    kind: type[Any] = way.library.Client if way.colour == "sync" else way.library.AsyncClient
    return kind


def made(way: Way, stack: Stack, **settings: Any) -> Client:
    """A client that the library makes, under the stack."""
    client = cast("Any", stack).client(kind_of(way), **settings)
    return Client(way, client, None)


def bare(way: Way, **settings: Any) -> Any:
    """A client that the library makes, without a stack."""
    return kind_of(way)(**settings)


def busy_once() -> Handler:
    """One 503, then 200."""
    return script(replies(503, b"busy"), replies(200, b"here"))


def transports_of(client: Any) -> list[Any]:
    """The transports that httpx keeps for a client. They are its private matter, and the only witnesses."""
    return [client._transport, *client._mounts.values()]  # httpx's, not ours


def test_a_client_goes_through_the_stack(way: Way) -> None:
    """The plain case: no mounts, no proxies."""
    with Server(busy_once()) as server:
        client = made(way, RETRYING, base_url=server.url)
        answer = client.get("/status")
        client.close()
    assert answer.content == b"here"
    assert [attempt.status for attempt in ledger_of(answer).attempts] == [503, 200]


def test_proxies_of_the_environment_stay_and_are_retried(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """`transport=` drops them without a word."""
    with Server(busy_once()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        client = made(way, RETRYING)
        answer = client.get("http://foundry.invalid/status")
        client.close()
    assert [asked.path for asked in proxy.asked] == ["http://foundry.invalid/status"] * 2
    assert [attempt.status for attempt in ledger_of(answer).attempts] == [503, 200]


def test_what_the_environment_exempts_from_its_proxies_goes_past_them(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount of None means "the default transport", and None it stays."""
    monkeypatch.setenv("HTTP_PROXY", "http://nobody.invalid:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(busy_once()) as server:
        client = made(way, RETRYING)
        answer = client.get(server.url)
        assert None in transports_of(client.wrapped)
        client.close()
    assert [attempt.status for attempt in ledger_of(answer).attempts] == [503, 200]


def test_a_proxy_given_to_the_client_is_used_and_retried(way: Way) -> None:
    """`proxy=` makes a transport that bypasses the one of `transport=`."""
    with Server(busy_once()) as proxy:
        client = made(way, RETRYING, proxy=proxy.url)
        answer = client.get("http://foundry.invalid/")
        client.close()
    assert len(proxy.asked) == 2
    assert len(ledger_of(answer).attempts) == 2


def test_mounts_are_covered_and_share_the_circuits(way: Way) -> None:
    """A breaker belongs to the stack: what opened on a mount is open for whoever shares the stack."""
    breaker = CircuitBreaker(failures=1)
    stack = Stack(breaker)
    with Server(replies(500)) as server:
        client = made(way, stack, mounts={server.url: way.transport()})
        other = made(way, stack)
        assert client.get(server.url).status_code == 500
        for each in (client, other):
            with pytest.raises(CircuitOpenError):
                each.get(server.url)
            each.close()
        assert len(server.asked) == 1


def test_a_mount_of_none_still_means_the_default_transport(way: Way) -> None:
    """And that one is under the stack."""
    with Server(busy_once()) as server:
        client = made(way, RETRYING, mounts={"all://127.0.0.1": None})
        assert len(ledger_of(client.get(server.url)).attempts) == 2
        client.close()


def test_limits_and_verify_reach_every_transport(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are arguments of the client, and the client hands them to all transports that it makes."""
    monkeypatch.setenv("HTTP_PROXY", "http://nobody.invalid:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    context = ssl.create_default_context()
    with Server(replies(200)) as server:
        client = made(way, RETRYING, verify=context, limits=way.library.Limits(max_keepalive_connections=0))
        client.get(server.url)
        client.get(server.url)
        assert server.connections == 2  # none is kept
        pools = [pool_of(transport) for transport in transports_of(client.wrapped) if transport is not None]
        client.close()
    assert len(pools) == 2
    assert all(pool._ssl_context is context for pool in pools)  # httpcore's, not ours


def test_a_client_can_be_wrapped_while_it_is_in_use(way: Way) -> None:
    """It is the same client, with the same connections."""
    with Server(script(replies(200), *[replies(503)], replies(200))) as server:
        wrapped = bare(way)
        client = Client(way, wrapped, None)
        way.run(way.method(wrapped, "__enter__"))
        client.get(server.url)
        assert wrap(wrapped, RETRYING) is wrapped
        assert len(ledger_of(client.get(server.url)).attempts) == 2
        assert server.connections == 1
        way.run(way.method(wrapped, "__exit__"), None, None, None)


def test_closing_the_client_closes_every_transport_once(way: Way) -> None:
    """Its own and those of its mounts."""
    closed: Counter[str] = Counter()
    name = "close" if way.colour == "sync" else "aclose"

    def counting(label: str) -> Any:
        network: type[Any] = way.transport().__class__

        def close(self: Any) -> Any:
            closed[label] += 1
            return getattr(network, name)(self)

        return type("Counting", (network,), {name: close})()

    client = made(way, RETRYING, transport=counting("default"), mounts={"all://mounted.test": counting("mount")})
    client.close()
    assert closed == {"default": 1, "mount": 1}


def test_the_same_stack_over_a_client_twice_is_refused(way: Way) -> None:
    """An equal one too: it would do everything twice."""
    client = Client(way, bare(way), None)
    wrap(client.wrapped, Stack(Retry()))
    with pytest.raises(StackError, match=f"^this stack is over this {way.library.__name__}.* already: .* once$"):
        wrap(client.wrapped, Stack(Retry()))
    client.close()


def test_a_client_over_a_transport_of_this_stack_is_wrapped_already(way: Way) -> None:
    """However the stack came there, and whatever else lies between."""
    transport: Any = cast("Any", Stack()).over(cast("Any", RETRYING).over(way.transport()))
    client = Client(way, bare(way, transport=transport), None)
    with pytest.raises(StackError, match="already"):
        wrap(client.wrapped, RETRYING)
    client.close()


def test_another_stack_over_it_is_a_stack_around_it(way: Way) -> None:
    """The last one is the outermost."""
    breaker = CircuitBreaker(failures=1)
    with Server(busy_once()) as server:
        client = made(way, RETRYING)
        wrap(client.wrapped, Stack(breaker))
        assert client.get(server.url).status_code == 200
        assert [circuit.state for circuit in breaker.circuits] == ["closed"]  # saw one call, and that was good
        client.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Client", r"not over a class: write stack\.client\(Client, \.\.\.\), or wrap\(Client\(\.\.\.\), stack\)"),
        ("AsyncClient", r"not over a class: write stack\.client\(AsyncClient, \.\.\.\)"),
        ("get", r"such as httpx\.Client\(\) or httpx2\.AsyncClient\(\), not over builtins\.function"),
        ("__version__", r"such as httpx\.Client\(\) or httpx2\.AsyncClient\(\), not over builtins\.str"),
    ],
)
def test_what_is_no_client_is_refused(way: Way, name: str, said: str) -> None:
    with pytest.raises(TypeError, match=rf"^a stack is put over a client, .*{said}"):
        wrap(getattr(way.library, name), RETRYING)


def test_a_transport_is_no_client(way: Way) -> None:
    with pytest.raises(
        TypeError, match=rf"not over {way.library.__name__}\.(Async)?HTTPTransport; an SDK is given one"
    ):
        wrap(way.transport(), RETRYING)


def test_what_makes_no_client_is_refused(way: Way) -> None:
    with pytest.raises(TypeError, match=r"^a stack is put over a client, .*Transport"):
        cast("Any", RETRYING).client(way.transport)


def test_where_one_transport_is_none_the_client_stays_as_it_was(way: Way) -> None:
    """All are covered, or none."""
    with Server(replies(503)) as server:
        client = Client(way, bare(way, mounts={"all://odd.test": cast("Any", object())}), None)
        with pytest.raises(TypeError, match=r"^a stack stands over a transport, .* not over builtins\.object"):
            wrap(client.wrapped, RETRYING)
        assert "resilience" not in client.get(server.url).extensions
        client.wrapped._mounts.clear()  # httpx's: it cannot be closed with what is no transport
        client.close()


@pytest.mark.parametrize("private", ["_transport", "_mounts"])
def test_a_release_that_keeps_its_transports_elsewhere_is_an_error_and_no_silence(way: Way, private: str) -> None:
    """Those names are httpx's private ones, and may go with any release."""
    client = bare(way)
    attributes = cast("dict[str, Any]", vars(client))
    renamed = attributes.pop(private)
    with pytest.raises(RuntimeError, match=r"keeps its transports elsewhere .*transport=stack\.over\(\.\.\.\)"):
        wrap(client, RETRYING)
    attributes[private] = renamed
    Client(way, client, None).close()


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_installed_releases_keep_them_where_we_look(library: str) -> None:
    """Were this to fail, `_transports/embed.py` is the place to learn the new names."""
    wrap(LIBRARIES[library].Client(), RETRYING).close()
