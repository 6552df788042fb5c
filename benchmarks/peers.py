"""What one would build otherwise: transports and callers of other packages, set up as their documentation says.

Each is looked for when it is used, and left out where its package is missing; `missing()` says which. No library's
types are met here: httpx and httpx2 share no class, and not all of these packages have types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pybreaker
import stamina

from benchmarks.sdk import Telemetry
from resilient_foundry._extras import require

Over = Callable[[Any, str, Any, Telemetry], Any]
"""From a library, `sync` or `async`, and a transport, to a transport over it."""
Calling = Callable[[Any, str, Any], Callable[[str], Any]]
"""From a library, `sync` or `async`, and a client, to what makes a GET of a URL."""

RETRIES = "retries"
BREAKER = "breaker"
OTEL = "OpenTelemetry's"
TOGETHER = "retries + breaker"
TRACED = "retries + breaker + OpenTelemetry's"
STAMINA = "@stamina.retry"
OPENAI = "OpenAI SDK with its retries"
_ATTEMPTS = 3
_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them."""

    parts: tuple[str, ...]
    """What it is made of, by name."""
    over: Over | None = None
    calling: Calling | None = None
    libraries: tuple[str, ...] = ("httpx", "httpx2")

    def packages(self, library: str, colour: str) -> list[str]:
        """The modules that it needs there."""
        return [package for part in self.parts for package in _modules(part, library, colour)]


def _retries(module: Any, colour: str, wire: Any, _telemetry: Telemetry) -> Any:
    """httpx-retries, which knows httpx alone; on httpx2 pydantic-ai's, which runs on tenacity."""
    if module.__name__ == "httpx":
        theirs: Any = require("httpx_retries", extra="bench")
        return theirs.RetryTransport(transport=wire, retry=theirs.Retry(total=_ATTEMPTS - 1))
    tenacious: Any = require("pydantic_ai.retries", extra="bench")
    tenacity: Any = require("tenacity", extra="bench")
    config = tenacious.RetryConfig(
        retry=tenacity.retry_if_exception_type((module.HTTPStatusError, module.TransportError)),
        wait=tenacious.wait_retry_after(
            fallback_strategy=tenacity.wait_exponential(multiplier=0.1, max=10), max_wait=30
        ),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    kind = tenacious.HTTPX2TenacityTransport if colour == "sync" else tenacious.AsyncHTTPX2TenacityTransport
    return kind(config=config, wrapped=wire, validate_response=_good)


def _good(response: Any) -> None:
    """Raise for what is to be tried again."""
    if response.status_code >= 500:  # noqa: PLR2004 - a failure of the server
        response.raise_for_status()


def _breaker(module: Any, colour: str, wire: Any, _telemetry: Telemetry) -> Any:
    """By pybreaker around the transport; asynchronous code has circuitbreaker, since pybreaker knows no asyncio."""
    if colour == "sync":
        guarded: Any = pybreaker.CircuitBreaker(fail_max=_FAILURES, reset_timeout=5.0)

        class Broken(module.BaseTransport):  # type: ignore[misc]  # the base is whichever library's
            def handle_request(self, request: Any) -> Any:
                return guarded.call(_send, request)

            def close(self) -> None:
                wire.close()

        def _send(request: Any) -> Any:
            response = wire.handle_request(request)
            _good_or_raise(module, request, response)
            return response

        return Broken()

    theirs: Any = require("circuitbreaker", extra="bench")

    @theirs.circuit(failure_threshold=_FAILURES, recovery_timeout=5)  # type: ignore[untyped-decorator]  # theirs
    async def send(request: Any) -> Any:
        response = await wire.handle_async_request(request)
        _good_or_raise(module, request, response)
        return response

    class AsyncBroken(module.AsyncBaseTransport):  # type: ignore[misc]  # as above
        async def handle_async_request(self, request: Any) -> Any:
            return await send(request)

        async def aclose(self) -> None:
            await wire.aclose()

    return AsyncBroken()


def _good_or_raise(module: Any, request: Any, response: Any) -> None:
    if response.status_code >= 500:  # noqa: PLR2004 - a failure of the server, which a breaker knows by an exception
        raise module.HTTPStatusError("the server failed", request=request, response=response)


def _otel(module: Any, colour: str, wire: Any, telemetry: Telemetry) -> Any:
    theirs: Any = require("opentelemetry.instrumentation.httpx", extra="bench")
    name = f"{'Sync' if colour == 'sync' else 'Async'}OpenTelemetryTransport"
    kind = getattr(theirs, name if module.__name__ == "httpx" else name + "Httpx2")
    return kind(wire, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)


def _together(module: Any, colour: str, wire: Any, telemetry: Telemetry) -> Any:
    """Outermost first: what makes attempts, and what counts them."""
    return _retries(module, colour, _breaker(module, colour, wire, telemetry), telemetry)


def _traced(module: Any, colour: str, wire: Any, telemetry: Telemetry) -> Any:
    """One span a call, as its instrumentor does with a client's own transport."""
    return _otel(module, colour, _together(module, colour, wire, telemetry), telemetry)


def _by_stamina(module: Any, colour: str, client: Any) -> Callable[[str], Any]:
    decorate: Any = stamina.retry(on=module.HTTPError, attempts=_ATTEMPTS)
    if colour == "sync":

        def get(url: str) -> Any:
            return client.get(url)

        return decorate(get)  # type: ignore[no-any-return]  # both sides are of whichever library

    async def get_async(url: str) -> Any:
        return await client.get(url)

    return decorate(get_async)  # type: ignore[no-any-return]  # as above


def _by_openai(module: Any, colour: str, client: Any) -> Callable[[str], Any]:
    theirs: Any = require("openai", extra="bench")
    kind = theirs.OpenAI if colour == "sync" else theirs.AsyncOpenAI
    # nothing is asked of openai: every call goes to the URL that it is given
    sdk = kind(api_key="none", base_url="http://127.0.0.1:9", http_client=client, max_retries=_ATTEMPTS - 1)

    def get(url: str) -> Any:
        return sdk.get(url, cast_to=module.Response)

    return get


def _modules(part: str, library: str, colour: str) -> tuple[str, ...]:
    """The modules that a part needs in a library and a colour."""
    if part == RETRIES:
        return ("httpx_retries",) if library == "httpx" else ("pydantic_ai", "tenacity")
    if part == BREAKER:
        return ("pybreaker",) if colour == "sync" else ("circuitbreaker",)
    return {OTEL: ("opentelemetry.instrumentation.httpx",), STAMINA: ("stamina",), OPENAI: ("openai",)}[part]


PEERS: dict[str, Peer] = {
    RETRIES: Peer((RETRIES,), _retries),
    BREAKER: Peer((BREAKER,), _breaker),
    OTEL: Peer((OTEL,), _otel),
    TOGETHER: Peer((RETRIES, BREAKER), _together),
    TRACED: Peer((RETRIES, BREAKER, OTEL), _traced),
    STAMINA: Peer((STAMINA,), calling=_by_stamina),
    OPENAI: Peer((OPENAI,), calling=_by_openai, libraries=("httpx2",)),
}


def available(library: str, colour: str) -> list[str]:
    """Those that can be had here, in this library and colour."""
    return [
        name
        for name, peer in PEERS.items()
        if library in peer.libraries and all(map(_is_there, peer.packages(library, colour)))
    ]


def missing() -> list[str]:
    """The packages that are not installed, and whose contenders are left out."""
    ways = [(library, colour) for library in ("httpx", "httpx2") for colour in ("sync", "async")]
    wanted = {package for peer in PEERS.values() for way in ways for package in peer.packages(*way)}
    return sorted(package for package in wanted if not _is_there(package))


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it would be a part of
        return False
