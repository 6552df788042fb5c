"""The real Foundry Local, asked in six ways through the stack that is made for it, over a network that misbehaves."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from resilient_foundry import Backoff, CircuitBreaker, Retry, Stack, StreamGuard
from resilient_foundry.events import Outcome
from resilient_foundry.foundry.runtime import BREAKING, ENDLESS, RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import (
    Answer,
    CutAfterEvents,
    CutBeforeFirstEvent,
    InBandError,
    Reset,
    Truncate,
    each_post,
)
from resilient_foundry.harness.proxy import FaultProxy
from tests.ways import Way, ledger_of

SAID = "".join(str(piece) for piece in RESILIENCE.script)
REPEATABLE = {"resilience": {"repeatable": True}}
INFERENCE = Stack(Retry(attempts=4, backoff=Backoff(base=0.0)), CircuitBreaker(failures=9), StreamGuard())


def question(runtime: LocalRuntime, alias: str = RESILIENCE.alias, **more: Any) -> dict[str, Any]:
    """The body of a chat."""
    (model,) = (served.id for served in runtime.models if served.alias == alias)
    return {"model": model, "messages": [{"role": "user", "content": "What is resilience?"}], **more}


def chat(url: str) -> str:
    """Where chats are asked."""
    return f"{url}/v1/chat/completions"


def content(stream: bytes) -> str:
    """What the events of a stream say."""
    events = [line.removeprefix("data: ") for line in stream.decode().splitlines() if line.startswith("data: {")]
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return "".join(delta.get("content") or "" for delta in deltas)


def outcomes(carrier: Any) -> list[Outcome | None]:
    """How each attempt ended."""
    return [attempt.outcome for attempt in ledger_of(carrier).attempts]


def test_a_plain_chat(way: Way, runtime: LocalRuntime) -> None:
    """One question, one answer, one attempt."""
    response = way.client(Stack.inference()).post(chat(runtime.url), json=question(runtime))
    assert response.json()["choices"][0]["message"]["content"] == SAID
    assert outcomes(response) == [Outcome.COMPLETE]


def test_a_streamed_chat(way: Way, runtime: LocalRuntime) -> None:
    """Word for word, and `[DONE]` is the end."""
    client = way.client(Stack.inference())
    with client.stream("POST", chat(runtime.url), json=question(runtime, stream=True)) as stream:
        said = stream.rest()
        assert content(said) == SAID
        assert said.endswith(b"data: [DONE]\n\n")
        (attempt,) = ledger_of(stream.response).attempts
        assert (attempt.outcome, attempt.bytes) == (Outcome.COMPLETE, len(said))


def test_sixteen_chats_at_once(way: Way, runtime: LocalRuntime) -> None:
    """Each gets its own answer, whole."""
    client = way.client(Stack.inference())
    calls = way.together(16, partial(client.post, chat(runtime.url), json=question(runtime, stream=True)))
    assert [content(call.result().content) for call in calls] == [SAID] * 16


def test_a_stream_that_is_left_early_leaves_nothing_behind(way: Way, runtime: LocalRuntime) -> None:
    """The first words of an endless answer are handed over while it goes on; the next chat is served."""
    client = way.client(Stack.inference())
    with client.stream("POST", chat(runtime.url), json=question(runtime, ENDLESS.alias, stream=True)) as stream:
        assert stream.next().startswith(b"data: {")
    assert outcomes(stream.response) == [Outcome.ABANDONED]
    assert client.post(chat(runtime.url), json=question(runtime)).is_success


def test_a_generation_that_fails_in_mid_sentence_is_told_by_the_ledger(way: Way, runtime: LocalRuntime) -> None:
    """The status is 200 and the end is clean: only the events say that it failed. Nothing is repeated."""
    client = way.client(Stack.inference())
    with client.stream(
        "POST", chat(runtime.url), json=question(runtime, BREAKING.alias, stream=True), extensions=REPEATABLE
    ) as stream:
        said = stream.rest()
        assert b'"error"' in said
        assert outcomes(stream.response) == [Outcome.IN_BAND_ERROR]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_network_that_misbehaves_is_not_noticed(way: Way, runtime: LocalRuntime, *, streamed: bool) -> None:
    """Resets, a 503, a stream cut or failed before its first event: the caller gets one whole answer."""
    early = (CutBeforeFirstEvent(), InBandError()) if streamed else (Reset(),)
    faults = (Reset(), Answer(503, {"Retry-After": "0.01"}), *early)
    with FaultProxy(runtime.url, each_post(*faults[-3:])) as proxy:
        client = way.client(INFERENCE)
        response = client.post(chat(proxy.url), json=question(runtime, stream=streamed), extensions=REPEATABLE)
        said = content(response.content) if streamed else response.json()["choices"][0]["message"]["content"]
        assert said == SAID
        assert len(ledger_of(response).attempts) == 4
        assert len(proxy.requests) == 4


def test_a_stream_cut_in_mid_sentence_is_an_error_that_says_what_came(way: Way, runtime: LocalRuntime) -> None:
    """Never repeated: the words that came are the caller's already."""
    with FaultProxy(runtime.url, each_post(CutAfterEvents(5))) as proxy:
        client = way.client(INFERENCE)
        with client.stream(
            "POST", chat(proxy.url), json=question(runtime, stream=True), extensions=REPEATABLE
        ) as stream:
            with pytest.raises(way.library.RemoteProtocolError) as caught:
                stream.rest()
            (attempt,) = ledger_of(caught.value).attempts
            assert attempt.outcome is Outcome.BROKEN
            assert attempt.bytes > 0
        assert len(proxy.requests) == 1


def test_a_stream_that_ends_without_its_end_is_called_truncated(way: Way, runtime: LocalRuntime) -> None:
    """The connection ended well; the answer did not."""
    with FaultProxy(runtime.url, each_post(Truncate(5))) as proxy:
        response = way.client(INFERENCE).post(chat(proxy.url), json=question(runtime, stream=True))
        assert outcomes(response) == [Outcome.TRUNCATED]


def test_a_proxy_that_refuses_is_a_server_that_cannot_be_reached(way: Way, runtime: LocalRuntime) -> None:
    """Nothing was sent, so the chat is tried again, and goes through once connections are accepted."""
    with FaultProxy(runtime.url) as proxy:
        client = way.client(INFERENCE)
        proxy.refuse()
        with pytest.raises(way.library.ConnectError) as caught:
            client.post(chat(proxy.url), json=question(runtime))
        assert len(ledger_of(caught.value).attempts) == 4
        proxy.accept()
        assert client.post(chat(proxy.url), json=question(runtime)).is_success
