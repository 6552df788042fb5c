"""A model that is not loaded is loaded, and a service that moved is found again, in the middle of a call."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import anyio
import httpx
import pytest
from anyio import to_thread

from resilient_foundry import (
    CircuitBreaker,
    CircuitOpenError,
    Fallback,
    Ledger,
    ResilienceError,
    Retry,
    Stack,
    Target,
)
from resilient_foundry.call import derive
from resilient_foundry.events import Remedied
from resilient_foundry.flow import Flow, Proceed, Request, Response
from resilient_foundry.foundry import (
    AsyncFoundryClient,
    ChatResult,
    FoundryClient,
    FoundryError,
    Generation,
    LoadFailedError,
    ModelNotLoadedError,
    ServiceNotFoundError,
    SettingsError,
)
from resilient_foundry.foundry.asks import NEEDS
from resilient_foundry.foundry.locate import Inspection
from resilient_foundry.foundry.occupancy import Use, Waiter
from resilient_foundry.foundry.remedies import Finding, Loading, remedies_for
from resilient_foundry.foundry.session import Session
from resilient_foundry.policies.remedy import Remedy
from resilient_foundry.testing import VirtualTime, failed, ok, rehearse, unsent
from tests import servers
from tests.foundry.servers import Answer, One, Server, Two, delta, delta_on_1, events, fault
from tests.servers import Conversation, closed_port
from tests.ways import NAMES, Barrier, Way, way_named

PHI = "phi-4-mini-instruct-cpu:1"
LOAD = "GET /models/load/phi-4-mini"
CHAT = "POST /v1/chat/completions"
NOT_LOADED = "Model not loaded: Model 'm' must be loaded before inference"
MISSING = failed(400, fault(400, NOT_LOADED).body)


@pytest.fixture(params=NAMES)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each of the six ways in turn."""
    way = way_named(request.param)
    try:
        yield way
    finally:
        way.close()


@pytest.fixture
def sync() -> Iterator[Way]:
    """One of them, where the colour makes no difference."""
    way = way_named("httpx-sync")
    yield way
    way.close()


class Foundry:
    """A client of Foundry Local in one of six ways, asked as if it were synchronous."""

    def __init__(self, way: Way, service: Any, **settings: Any) -> None:
        kind = FoundryClient if way.colour == "sync" else AsyncFoundryClient
        self.way = way
        self.client: Any = way.run(partial(kind, service, library=way.library.__name__, **settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.way.run(self.way.method(self.client, "close"))

    def complete(self, model: str | None = PHI) -> ChatResult:
        """A chat."""
        result: ChatResult = self.call("complete", "hi", model=model)
        return result

    def stream(self, model: str = PHI) -> str:
        """The text of a streamed chat."""
        stream = self.client.stream_complete("hi", model=model)

        async def read() -> str:
            return "".join([chunk.content async for chunk in stream])

        if self.way.colour == "sync":
            return "".join(chunk.content for chunk in stream)
        said: str = self.way.run(read)
        return said

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Any method."""
        return self.way.run(partial(getattr(self.client, name), *arguments, **named))


def serving(server: Server) -> servers.Server:
    """On a loopback port, for the time of a `with` block."""
    return servers.Server(handler=server.on_the_wire)


def remedies(ledger: Ledger | None) -> list[Remedied]:
    """What was mended in a call, or was not."""
    assert ledger is not None
    return [event for _, event in ledger.events if isinstance(event, Remedied)]


# A model that is not loaded


@pytest.mark.parametrize("make", [One, Two])
def test_a_model_that_a_call_needs_is_loaded_and_the_call_goes_on(way: Way, make: type[One | Two]) -> None:
    """One event tells of it."""
    server = make()
    with serving(server) as there, Foundry(way, there.url) as foundry:
        result = foundry.complete()
    assert result.content == "To be"
    assert server.loaded == [PHI]
    (event,) = remedies(result.resilience)
    assert (event.remedy, event.detail, event.worked) == ("model_loaded", PHI, True)
    assert server.asked.count(CHAT) == 2


def test_a_load_may_take_longer_than_an_answer() -> None:
    """Minutes, for a large model; the limit of the call itself stays what it was."""
    session = known(aliases={"phi-4-mini": PHI}, loads=True)
    nothing, loaded = ok(b"[]"), ok(json.dumps([PHI]).encode())
    load = ok(b'{"status": "loaded"}', after=500)
    stack = Stack(Needing(), Remedy(Loading(session)))
    history = rehearse(stack, MISSING, nothing, nothing, load, loaded, ok(), timeout={"read": 2.0})
    assert (history.status, history.elapsed) == (200, 500)
    limits = [request.extensions["timeout"]["read"] for request in history.script.requests]
    assert limits == [2.0, 1.0, 1.0, 900.0, 1.0, 2.0]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_call_that_is_cancelled_while_it_loads_leaves_that_to_the_next_one() -> None:
    """Which waits for nobody; its own question finds the model loaded, or loads it."""
    server, begun, over = Two(), servers.Gate(), servers.Gate()

    def handler(talk: Conversation) -> None:
        if "/models/load/" in talk.asked.path and not begun.is_open:
            begun.open()
            over.wait()
        server.on_the_wire(talk)

    with servers.Server(handler=handler) as there:
        async with AsyncFoundryClient(there.url, model=PHI, aliases={"phi-4-mini": PHI}) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.complete, "hi")
                await to_thread.run_sync(begun.wait)
                tasks.cancel_scope.cancel()
            assert (await client.complete("hi")).content == "To be"
        over.open()


def test_embeddings_need_a_model_as_well(sync: Way) -> None:
    """Whatever names a model."""
    server = Two(script={"/v1/embeddings": [fault(400, NOT_LOADED)]})
    with serving(server) as there, Foundry(sync, there.url) as foundry:
        result = foundry.call("embed", "hi", model=PHI)
    assert len(result.vectors) == 1
    assert [event.detail for event in remedies(result.resilience)] == [PHI]


@pytest.mark.parametrize("make", [One, Two])
def test_callers_that_need_it_together_load_it_once(way: Way, make: type[One | Two]) -> None:
    """One loads it, the others wait for that."""
    server, together = make(), Barrier(6)

    def all_refused(answer: Answer) -> None:
        if answer.status == 400:
            together.wait()

    handler = partial(server.on_the_wire, before=all_refused)
    with servers.Server(handler=handler) as there, Foundry(way, there.url, aliases={"phi-4-mini": PHI}) as foundry:
        foundry.call("health_check")
        results = [call.result() for call in way.together(6, foundry.complete)]
    assert [result.content for result in results] == ["To be"] * 6
    assert len([line for line in server.asked if "/models/load/" in line]) == 1
    told = sorted(event.detail for result in results for event in remedies(result.resilience))
    assert told == [PHI] + [f"{PHI} (by another call)"] * 5


def test_a_model_that_cannot_be_loaded_is_the_servers_first_answer_with_what_was_tried(way: Way) -> None:
    """The 400 was true, and why it could not be mended stands in the same sentence."""
    server = Two(script={"/models/load/phi-4-mini": [fault(500, "Load failed: genai_config.json is broken")]})
    with (
        serving(server) as there,
        Foundry(way, there.url, aliases={"phi-4-mini": PHI}) as foundry,
        pytest.raises(ModelNotLoadedError) as caught,
    ):
        foundry.complete()
    assert caught.value.status == 400
    assert f"loading {PHI} was in vain: LoadFailedError: the service could not load the model" in str(caught.value)
    assert "genai_config.json is broken" in str(caught.value)
    (event,) = remedies(caught.value.resilience)
    assert (event.worked, event.detail) == (False, f"{PHI} (LoadFailedError)")


def test_a_model_that_could_not_be_loaded_is_not_tried_at_every_call(sync: Way) -> None:
    """A load that fails takes long, and the memory of others."""
    server = Two(script={"/models/load/phi-4-mini": [fault(500, "Load failed: no memory")] * 9})
    with serving(server) as there, Foundry(sync, there.url, aliases={"phi-4-mini": PHI}) as foundry:
        for _ in range(4):
            with pytest.raises(ModelNotLoadedError, match="no memory"):
                foundry.complete()
    assert server.asked.count(LOAD) == 1


def test_a_model_that_is_not_downloaded_is_not_downloaded(sync: Way) -> None:
    """Only what lies on the service's disk is loaded unasked."""
    server = Two(script={"/models/load/phi-4-mini": [fault(400, "Model not cached: phi-4-mini")]})
    with (
        serving(server) as there,
        Foundry(sync, there.url, aliases={"phi-4-mini": PHI}) as foundry,
        pytest.raises(ModelNotLoadedError, match="ModelNotCachedError: the model is not downloaded; download it first"),
    ):
        foundry.complete()


def test_a_model_that_was_put_away_stays_away(sync: Way) -> None:
    """Until it is loaded on purpose: whoever unloads a model wants its memory."""
    server = Two(loaded=[PHI])
    with serving(server) as there, Foundry(sync, there.url) as foundry:
        foundry.call("unload_model", "phi-4-mini")
        with pytest.raises(ModelNotLoadedError, match="call load_model first"):
            foundry.complete()
        foundry.call("load_model", "phi-4-mini")
        server.loaded.clear()  # and now it was not this client
        assert foundry.complete().content == "To be"


def test_loading_may_be_switched_off(sync: Way) -> None:
    """`load=False`: the memory is somebody else's to give."""
    server = Two()
    with (
        serving(server) as there,
        Foundry(sync, there.url, load=False) as foundry,
        pytest.raises(ModelNotLoadedError) as caught,
    ):
        foundry.complete()
    assert (remedies(caught.value.resilience), server.loaded) == ([], [])


def test_a_stack_of_your_own_loads_where_you_say_so(sync: Way) -> None:
    """It stands just inside its retries."""
    server = Two()
    with serving(server) as there:
        with Foundry(sync, there.url, stack=Stack(Retry())) as foundry, pytest.raises(ModelNotLoadedError):
            foundry.complete()
        with Foundry(sync, there.url, stack=Stack(Retry()), load=True) as foundry:
            assert foundry.complete().content == "To be"


@pytest.mark.parametrize("settings", [{"load": True}, {"rediscover": True}])
def test_an_http_client_of_your_own_has_no_room_for_it(settings: dict[str, Any]) -> None:
    """Its transport is not ours."""
    with httpx.Client() as http, pytest.raises(TypeError, match="load=True and rediscover=True"):
        FoundryClient("http://127.0.0.1:1", http_client=http, **settings)


def test_another_variant_than_the_one_needed_does_not_stay(sync: Way) -> None:
    """2.x picks the variant of an alias itself: nobody asked for that one, so its memory is given back."""
    server = Two(models={"phi": "phi-cpu:1", "gpu": "phi-gpu:1"})
    with (
        serving(server) as there,
        Foundry(sync, there.url) as foundry,
        pytest.raises(ModelNotLoadedError, match="'phi-gpu:1' was asked for, and the service loaded 'phi-cpu:1'"),
    ):
        foundry.complete("phi-gpu:1")
    assert server.loaded == []


def test_an_explicit_load_keeps_what_the_service_picked(sync: Way) -> None:
    """Its caller is told, and may use it."""
    server = Two(models={"phi": "phi-cpu:1"})
    with serving(server) as there, Foundry(sync, there.url) as foundry, pytest.raises(LoadFailedError):
        foundry.call("load_model", "phi-gpu:1")
    assert server.loaded == ["phi-cpu:1"]


def test_an_unload_that_waits_for_the_call_is_not_waited_for() -> None:
    """The two would wait for each other: the call fails, and then the model is unloaded."""
    session = known(aliases={"phi-4-mini": PHI}, loads=True)
    names = frozenset({PHI, "phi-4-mini"})
    assert session.occupancy.enter(Waiter(Use(names), lambda: None))  # the call
    assert not session.occupancy.enter(Waiter(Use(names, alone=True), lambda: None))
    remedy = Remedy(Loading(session))
    history = rehearse(Stack(Needing(), remedy), MISSING, ok(b"[]"), ok(b"[]"))
    assert [event.detail for event in remedies(history.ledger)] == [f"{PHI} (ModelBusyError)"]
    assert history.status == 400


# Streams of 1.x, which cuts the connection instead of saying that a model is not loaded

SAID = events(delta_on_1("To "), delta_on_1("be", "stop"))


class Streaming(One):
    """1.x that streams, where the model is loaded."""

    def chat(self, body: Any) -> Answer:
        """A stream, or a cut."""
        return SAID if body.get("stream") and self.identity(body["model"]) in self.loaded else super().chat(body)


@pytest.mark.parametrize("name", ["phi-4-mini", PHI])
def test_a_stream_of_1_is_not_begun_before_its_model_is_loaded(way: Way, name: str) -> None:
    """A cut connection would look like a broken network."""
    server = Streaming()
    with serving(server) as there, Foundry(way, there.url) as foundry:
        assert foundry.stream(name) == "To be"
        assert foundry.stream(name) == "To be"
    assert len([line for line in server.asked if "/models/load/" in line]) == 1
    assert server.asked.count(CHAT) == 2


def test_a_stream_of_1_whose_model_was_lost_is_begun_again(way: Way) -> None:
    """The service was restarted since the model was seen loaded."""
    server = Streaming(loaded=[PHI])
    with serving(server) as there, Foundry(way, there.url, retries=0) as foundry:
        assert foundry.stream() == "To be"
        server.loaded.clear()
        assert foundry.stream() == "To be"


def test_a_stream_of_1_whose_model_cannot_be_loaded_says_what_was_tried(way: Way) -> None:
    """1.x has no words for it; the client has."""
    server = Streaming(script={f"/models/load/{PHI}": [Answer(500, b"", None)]})
    with (
        serving(server) as there,
        Foundry(way, there.url) as foundry,
        pytest.raises(ModelNotLoadedError, match=f"loading {PHI} was in vain: LoadFailedError") as caught,
    ):
        foundry.stream()
    assert [event.worked for event in remedies(caught.value.resilience)] == [False]
    assert CHAT not in server.asked


def test_a_restart_is_not_taken_for_loaded_models(sync: Way) -> None:
    """What was seen loaded was seen in another process: no stream is begun before it was looked up again."""
    knows = manager()
    with serving(Streaming(loaded=[PHI])) as before:
        move(knows, before)
        foundry = Foundry(sync, knows)
        foundry.stream()
    server = Streaming()
    with foundry, serving(server) as there:
        move(knows, there)
        foundry.call("health_check")
        assert foundry.stream() == "To be"
    assert server.asked.count(CHAT) == 1


# A service that moved

STATUS = b'{"modelCachePath": "/cache", "pid": 4711}'


def known(**more: Any) -> Session:
    """What a client knows that has spoken to 2.x."""
    settings: dict[str, Any] = {"url": "http://foundry.local:5273", "model": None, "aliases": {}, "strict": True}
    failures = (FoundryError, ResilienceError, httpx.RequestError)
    return Session(**{**settings, **more}, patience=1.0, failures=failures, generation=Generation.TWO)


@dataclass(frozen=True)
class Needing:
    """Says of every request that it needs the model."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Write it on."""
        return (yield from proceed(derive(request, method="POST", extensions={NEEDS: PHI})))


def acquainted(way: Way, knows: Any, make: type[One | Two] = Two, **settings: Any) -> Foundry:
    """A client that has spoken to a service which is gone since."""
    with serving(make()) as before:
        move(knows, before)
        foundry = Foundry(way, knows, **settings)
        foundry.call("health_check")
    return foundry


def manager(server: servers.Server | None = None) -> Any:
    """What stands for a manager of foundry-local-sdk: it always knows where its service is."""
    return SimpleNamespace(urls=[server.url if server is not None else closed_port()])


def move(knows: Any, server: servers.Server) -> None:
    """The service of this manager is there now."""
    knows.urls = [server.url]


@pytest.mark.parametrize("make", [One, Two])
def test_a_service_that_moved_is_found_and_the_call_goes_on(way: Way, make: type[One | Two]) -> None:
    """One event; every later call goes straight to the new address."""
    knows = manager()
    server = make(loaded=[PHI])
    with acquainted(way, knows, make) as foundry, serving(server) as there:
        move(knows, there)
        result = foundry.complete()
        (event,) = remedies(result.resilience)
        assert (event.remedy, event.detail, event.worked) == ("service_found", there.url, True)
        assert foundry.client.base_url == there.url
        assert server.asked == ["GET /status", CHAT]
        assert remedies(foundry.complete().resilience) == []
        assert server.asked == ["GET /status", CHAT, CHAT]
        assert server.seen[1].headers["host"] == there.url.removeprefix("http://")


def test_the_first_question_finds_it_too(way: Way) -> None:
    """Whichever call meets the closed door first."""
    knows = manager()
    with Foundry(way, knows) as foundry, serving(Two(loaded=[PHI])) as there:
        move(knows, there)
        assert foundry.call("health_check").status == "healthy"
        assert foundry.complete().content == "To be"


def test_a_service_that_restarted_with_nothing_loaded_costs_a_call_only_time(way: Way) -> None:
    """Two remedies, one after the other."""
    knows = manager()
    with ExitStack() as running:
        before = running.enter_context(serving(Two(loaded=[PHI])))
        move(knows, before)
        foundry = running.enter_context(Foundry(way, knows))
        foundry.complete()
        before.__exit__(None, None, None)
        after = running.enter_context(serving(Two()))
        move(knows, after)
        result = foundry.complete()
    assert [event.remedy for event in remedies(result.resilience)] == ["service_found", "model_loaded"]


def test_callers_that_lose_it_together_look_for_it_once(way: Way) -> None:
    """The command is a program that takes a second; and one question is as good as six."""
    knows, asked = manager(), list[str]()

    class Manager:
        @property
        def urls(self) -> list[str]:
            asked.append("where?")
            return list(knows.urls)

    with serving(Two()) as before:
        move(knows, before)
        foundry = Foundry(way, Manager())
        foundry.call("health_check")
    with foundry, serving(Two(loaded=[PHI])) as there:
        move(knows, there)
        asked.clear()
        results = [call.result() for call in way.together(6, foundry.complete)]
    assert [result.content for result in results] == ["To be"] * 6
    assert asked == ["where?"]


def test_nothing_secret_goes_to_an_address_before_a_foundry_local_answered_there(way: Way) -> None:
    """The port may be somebody else's by now."""
    knows = manager()
    stranger = servers.Server(handler=servers.replies(404, b"<html>who are you?"))
    with stranger as there, Foundry(way, knows, api_key="secret", retries=0) as foundry:
        move(knows, there)
        with pytest.raises(way.library.ConnectError) as caught:
            foundry.complete()
        assert [(one.path, one.headers.get("authorization")) for one in there.asked] == [("/status", None)]
    assert "NotFoundryError" in " ".join(caught.value.__notes__)


def test_the_key_goes_to_the_service_once_it_is_known(sync: Way) -> None:
    """As to the address that it had before."""
    knows, server = manager(), Two(loaded=[PHI])
    with Foundry(sync, knows, api_key="secret") as foundry, serving(server) as there:
        move(knows, there)
        foundry.complete()
    keys = [exchange.headers.get("authorization") for exchange in server.seen]
    assert keys == [None, "Bearer secret", "Bearer secret"]


def test_no_request_follows_the_service_to_another_machine(sync: Way) -> None:
    """That is an address for the user to name."""
    knows = manager()
    with Foundry(sync, knows, retries=0) as foundry:
        knows.urls = ["http://192.0.2.1:5273"]
        with pytest.raises(httpx.ConnectError) as caught:
            foundry.complete()
    assert "http://192.0.2.1:5273, which is not this machine" in " ".join(caught.value.__notes__)


def test_a_service_that_is_not_there_says_what_was_tried(way: Way) -> None:
    """Where it was, where it was looked for, and what to ask oneself."""
    knows = manager()
    with Foundry(way, knows) as foundry:
        knows.urls = None
        with pytest.raises(way.library.ConnectError) as caught:
            foundry.complete()
    notes = caught.value.__notes__
    assert notes[0].startswith("looking for the service that was at http://127.0.0.1:")
    assert "its web service is not running, so call start_web_service() first" in notes[0]
    assert notes[-1].startswith("nothing answers at http://127.0.0.1:")


def test_a_service_that_is_said_to_be_where_it_was_is_not_asked_again() -> None:
    """That is for `Retry`; a circuit would count the same refusal twice."""
    knows = manager()
    knows.urls = ["http://127.0.0.1:1"]
    remedy = Remedy(Finding(known(url="http://127.0.0.1:1"), partial(Inspection, knows)))
    history = rehearse(remedy, unsent(), url="http://127.0.0.1:1/v1/models")
    assert isinstance(history.error, httpx.ConnectError)
    assert "it is said to be there still, and nothing answers" in history.error.__notes__[0]


def test_another_target_of_the_callers_stack_is_not_looked_for() -> None:
    """What is asked instead of the service is not the service."""
    finding = Finding(known(url="http://127.0.0.1:1"), partial(Inspection, manager()))
    history = rehearse(Remedy(finding), unsent(), url="http://127.0.0.1:3/v1/models")
    assert (history.sent, remedies(history.ledger)) == (1, [])


@dataclass(frozen=True)
class Asking(Needing):
    """Asks for it in a body, as a chat does."""

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Write it on."""
        body = json.dumps({"model": PHI}).encode()
        asking = derive(request, headers={"Content-Type": "application/json"}, content=body)
        return (yield from super().flow(asking, proceed))


@pytest.mark.parametrize("target", [Target("http://127.0.0.1:3", headers={"X-Key": "theirs"}), Target(model="another")])
def test_for_another_target_of_the_callers_stack_nothing_is_loaded(target: Target) -> None:
    """It is another server that misses it, or it misses another model; and its key is for nobody else."""
    stack = Stack(Asking(), Fallback(target), *remedies_for(known(loads=True), lookup=None))
    history = rehearse(stack, failed(503), MISSING)
    assert (history.sent, history.status, remedies(history.ledger)) == (2, 503, [])


def test_a_load_finds_the_service_too() -> None:
    """It may go in the very middle: between the answer that a model is missing and the question what is loaded."""
    knows = manager()
    knows.urls = ["http://127.0.0.1:2"]
    session = known(url="http://127.0.0.1:1", loads=True)
    stack = Stack(Needing(), *remedies_for(session, lookup=partial(Inspection, knows)))
    loaded = json.dumps([PHI]).encode()
    history = rehearse(
        stack, MISSING, unsent(), ok(STATUS), ok(loaded), ok(), url="http://127.0.0.1:1/v1/chat/completions"
    )
    assert [event.remedy for event in remedies(history.ledger)] == ["service_found", "model_loaded"]
    assert str(history.script.requests[-1].url) == "http://127.0.0.1:2/v1/chat/completions"


def test_a_path_before_the_endpoints_is_kept_apart(sync: Way) -> None:
    """Of a service behind another server, only what follows its base goes to the new address."""
    knows = manager()
    knows.urls[0] += "/foundry"
    with Foundry(sync, knows) as foundry, serving(Two(loaded=[PHI])) as there:
        move(knows, there)
        assert foundry.complete().content == "To be"
        assert there.asked[0].path == "/status"


def test_a_circuit_that_opened_because_it_was_gone_does_not_keep_it_away() -> None:
    """It comes back elsewhere, and nobody has to wait until the circuit of the old address probes."""
    knows, clock = manager(), VirtualTime()
    knows.urls = ["http://127.0.0.1:1"]
    finding = Finding(known(url="http://127.0.0.1:1"), partial(Inspection, knows))
    stack = Stack(Remedy(finding, pause=2), CircuitBreaker(failures=1))
    call = partial(rehearse, stack, url="http://127.0.0.1:1/v1/models", clock=clock)
    call(unsent())
    assert isinstance(call().error, CircuitOpenError)
    clock.pass_(3)
    knows.urls = ["http://127.0.0.1:2"]
    history = call(ok(STATUS), ok())
    assert [str(request.url) for request in history.script.requests] == [
        "http://127.0.0.1:2/status",
        "http://127.0.0.1:2/v1/models",
    ]


def test_a_circuit_that_opened_for_another_reason_is_left_alone() -> None:
    """A service that fails is there."""
    finding = Finding(known(url="http://127.0.0.1:1"), partial(Inspection, manager()))
    stack = Stack(Remedy(finding), CircuitBreaker(failures=1))
    call = partial(rehearse, stack, url="http://127.0.0.1:1/v1/models")
    call(failed(500))
    assert (call().sent, remedies(call().ledger)) == (0, [])


def test_a_service_that_came_back_where_it_was_is_not_looked_for_when_its_circuit_opens_later() -> None:
    """Nobody would fail fast while a command is asked."""
    knows, clock = manager(), VirtualTime()
    knows.urls = ["http://127.0.0.1:1"]
    finding = Finding(known(url="http://127.0.0.1:1"), partial(Inspection, knows))
    stack = Stack(Remedy(finding, pause=2), CircuitBreaker(failures=2))
    call = partial(rehearse, stack, url="http://127.0.0.1:1/v1/models", clock=clock)
    assert len(remedies(call(unsent()).ledger)) == 1
    call(ok())
    clock.pass_(3)
    for _ in range(2):
        call(failed(500))
    history = call()
    assert (history.sent, remedies(history.ledger)) == (0, [])


def test_a_url_that_was_given_is_left_only_where_that_is_wanted(sync: Way, commanded: Callable[[str], None]) -> None:
    """It is what the user wants; the local service may be another one."""
    server = Two(loaded=[PHI])
    with serving(server) as there:
        commanded(there.url)
        with Foundry(sync, closed_port(), retries=0) as foundry, pytest.raises(httpx.ConnectError) as caught:
            foundry.complete()
        assert server.seen == []
        assert not [note for note in caught.value.__notes__ if "looking for" in note]
        with Foundry(sync, closed_port(), retries=0, rediscover=True) as foundry:
            assert foundry.complete().content == "To be"
            assert foundry.client.base_url == there.url


def test_a_url_of_another_machine_is_never_left() -> None:
    """Said at once, when the client is made."""
    with pytest.raises(SettingsError, match=r"http://192\.0\.2\.1:5273 is none of its addresses"):
        FoundryClient("http://192.0.2.1:5273", rediscover=True)


def test_a_manager_may_be_held_to_its_first_word(sync: Way) -> None:
    """`rediscover=False`."""
    knows = manager()
    with Foundry(sync, knows, retries=0, rediscover=False) as foundry, serving(Two(loaded=[PHI])) as there:
        move(knows, there)
        with pytest.raises(httpx.ConnectError):
            foundry.complete()


@pytest.fixture
def commanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A `foundry` command that knows of a service at the URL that it was told last."""
    if os.name == "nt":
        pytest.skip("the stand-in for the command is a POSIX script")
    program, told = tmp_path / "foundry", tmp_path / "told.json"
    program.write_text(f"#!{sys.executable}\nprint(open({str(told)!r}).read())\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def command(url: str) -> None:
        told.write_text(json.dumps({"running": True, "webUrls": [url]}))

    return command


def test_a_service_that_the_command_found_is_found_by_it_again(way: Way, commanded: Callable[[str], None]) -> None:
    """`foundry service restart` chooses another port."""
    with serving(Two(loaded=[PHI])) as before:
        commanded(before.url)
        foundry = Foundry(way, None)
        assert foundry.complete().content == "To be"
    with foundry, serving(Two(loaded=[PHI])) as after:
        commanded(after.url)
        result = foundry.complete()
        assert [event.detail for event in remedies(result.resilience)] == [after.url]
        assert foundry.client.base_url == after.url


def test_the_command_is_not_believed_about_other_machines(sync: Way, commanded: Callable[[str], None]) -> None:
    """Not with the first question either."""
    commanded("http://192.0.2.1:5273")
    with Foundry(sync, None) as foundry, pytest.raises(ServiceNotFoundError, match="which is not this machine"):
        foundry.complete()


def test_another_generation_at_the_new_address_is_spoken_to_as_such(sync: Way) -> None:
    """An update restarts the service, too."""
    knows = manager()
    with acquainted(sync, knows, One) as foundry, serving(Two(loaded=[PHI])) as there:
        move(knows, there)
        foundry.complete()
        assert foundry.call("health_check").generation is Generation.TWO


def test_a_stream_goes_on_at_the_new_address(way: Way) -> None:
    """Before its first piece, nothing was sent."""
    knows = manager()
    server = Two(loaded=[PHI], chats=[events(delta("To "), delta("be", "stop"))])
    with Foundry(way, knows) as foundry, serving(server) as there:
        move(knows, there)
        assert foundry.stream() == "To be"
