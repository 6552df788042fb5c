"""The real Foundry Local over a network that cuts its streams: a deterministic chat is told once, and whole."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry import Stack
from resilient_foundry.events import Outcome, StreamResumed
from resilient_foundry.foundry import FoundryClient, StreamInterruptedError
from resilient_foundry.foundry.runtime import BREAKING, RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import CutAfterEvents, Pass, Truncate, each_post
from resilient_foundry.harness.proxy import FaultProxy
from tests.live.test_chat import SAID, chat, content, outcomes, question
from tests.ways import Way, ledger_of


def resuming() -> Stack:
    """A stack of its own: circuits are shared by all who share a stack."""
    return Stack.inference(resume=True)


@pytest.mark.parametrize("fault", [CutAfterEvents(5), Truncate(7), CutAfterEvents(2)], ids=repr)
def test_a_chat_that_breaks_in_mid_sentence_goes_on(way: Way, runtime: LocalRuntime, fault: Any) -> None:
    """Asked again, the model says the same words under another id; those that came are not told again."""
    with FaultProxy(runtime.url, each_post(fault)) as proxy:
        client = way.client(resuming())
        asked = question(runtime, stream=True, temperature=0)
        with client.stream("POST", chat(proxy.url), json=asked) as stream:
            said = stream.rest()
        assert content(said) == SAID
        assert said.endswith(b"data: [DONE]\n\n")
        assert outcomes(stream.response)[-1] is Outcome.COMPLETE
        assert any(isinstance(event, StreamResumed) for _, event in ledger_of(stream.response).events)
        assert len(proxy.requests) == 2


def test_a_chat_that_breaks_more_often_than_it_is_asked_is_an_error(way: Way, runtime: LocalRuntime) -> None:
    """The error of the connection, and how much had come."""
    with FaultProxy(runtime.url, each_post(*[CutAfterEvents(5)] * 3)) as proxy:
        client = way.client(resuming())
        asked = question(runtime, stream=True, temperature=0)
        with (
            client.stream("POST", chat(proxy.url), json=asked) as stream,
            pytest.raises(way.library.RemoteProtocolError) as caught,
        ):
            stream.rest()
        assert "characters were delivered" in caught.value.__notes__[-1]
        assert len(proxy.requests) == 3


def test_a_generation_that_fails_each_time_hands_its_error_over(way: Way, runtime: LocalRuntime) -> None:
    """The words before it are told once, and the error as the server wrote it."""
    client = way.client(resuming())
    asked = question(runtime, BREAKING.alias, stream=True, temperature=0)
    response = client.post(chat(runtime.url), json=asked)
    assert response.content.count(b'"error"') == 1
    assert len(outcomes(response)) == 3


def test_the_client_has_its_chats_continued_where_its_stack_does(runtime: LocalRuntime) -> None:
    """And says what was interrupted where it can't be."""
    with FaultProxy(runtime.url, each_post(CutAfterEvents(5), Pass(), CutAfterEvents(5))) as proxy:
        with FoundryClient(proxy.url, model=RESILIENCE.alias, stack=resuming()) as client:
            assert "".join(chunk.content for chunk in client.stream_complete("What?", temperature=0)) == SAID
            with pytest.raises(StreamInterruptedError) as caught:
                list(client.stream_complete("What?", temperature=0.9))
        assert caught.value.delivered
        assert SAID.startswith(caught.value.delivered)
