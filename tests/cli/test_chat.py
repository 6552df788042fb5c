"""`resilient-foundry chat`: one question, its answer as it comes."""

from __future__ import annotations

import signal

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, TOOL_CALL, LocalRuntime
from resilient_foundry.harness.faults import CutAfterEvents, Reset, StallAfterEvents, each_post
from resilient_foundry.harness.proxy import FaultProxy
from tests.cli.command import run, started
from tests.cli.conftest import Command


def test_words_reach_the_terminal_before_the_answer_is_whole(runtime: LocalRuntime) -> None:
    """The rest is held back on the way, and the first words are there; Ctrl-C then ends it without a word."""
    with (
        FaultProxy(runtime.url, each_post(StallAfterEvents(5))) as proxy,
        started("chat", "Why?", "--url", proxy.url) as running,
    ):
        running.read_until(r"\w+ \w+ \w+")
        assert running.is_running
        assert not proxy.requests[-1].done
        running.send(signal.SIGINT)
        ended = running.end()
        assert (ended.code, ended.err) == (130, "")
        assert ended.out.endswith("\n")


def test_the_answer_is_all_that_is_printed(command: Command, runtime: LocalRuntime) -> None:
    """So that it can be piped; its last line ends."""
    ran = command("chat", "Why?", "--url", runtime.url)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("\n") == 1
    assert len(ran.out.split()) > 10


def test_the_prompt_comes_from_standard_input_too(runtime: LocalRuntime) -> None:
    """`-` reads it; the question is the same, and so is the answer."""
    asked = run("chat", "-", "--url", runtime.url, given="Why do calls fail?")
    assert (asked.code, asked.err) == (0, "")
    assert asked.out == run("chat", "Why do calls fail?", FOUNDRY_LOCAL_ENDPOINT=runtime.url).out


def test_explain_shows_the_attempts_behind_the_answer(command: Command, runtime: LocalRuntime) -> None:
    """On standard error: the answer stays by itself."""
    with FaultProxy(runtime.url, each_post(Reset())) as proxy:
        ran = command("chat", "Why?", "--url", proxy.url, "--explain")
    assert ran.code == 0
    assert "attempt" not in ran.out
    assert ["attempt 1: ReadError" in ran.err, "waits" in ran.err, "attempt 2: 200" in ran.err] == [True] * 3


def test_json_holds_the_answer_and_its_attempts(command: Command, runtime: LocalRuntime) -> None:
    """One document, once the answer is whole."""
    with FaultProxy(runtime.url, each_post(Reset())) as proxy:
        ran = command("chat", "Why?", "--url", proxy.url, "--json", "--max-tokens", "5")
    told = ran.json
    assert (ran.code, ran.err) == (0, "")
    assert (told["complete"], told["model"], told["finish_reason"]) == (True, RESILIENCE.id, "length")
    assert told["usage"]["completion_tokens"] == 5
    assert [(attempt["status"], attempt["outcome"]) for attempt in told["attempts"]] == [
        (None, "broken"),
        (200, "complete"),
    ]


def test_the_model_is_the_one_that_is_loaded_unless_somebody_names_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--model before FOUNDRY_MODEL before the only one in memory; with two in memory, somebody has to say."""
    with LocalRuntime(RESILIENCE, TOOL_CALL) as runtime:
        monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", runtime.url)
        complaint = command("chat", "Why?").complaint
        assert [RESILIENCE.id in complaint, TOOL_CALL.id in complaint, "--model" in complaint] == [True] * 3
        monkeypatch.setenv("FOUNDRY_MODEL", RESILIENCE.alias)
        assert command("chat", "Why?", "--json").json["model"] == RESILIENCE.id
        assert command("chat", "Why?", "--json", "--model", TOOL_CALL.alias).json["model"] == TOOL_CALL.id


def test_a_stream_that_breaks_leaves_what_was_delivered_and_says_so(command: Command, runtime: LocalRuntime) -> None:
    """Half an answer is not passed off as a whole one, and is not asked for again behind anybody's back."""
    with FaultProxy(runtime.url, each_post(CutAfterEvents(5))) as proxy:
        ran = command("chat", "Why?", "--url", proxy.url)
        posts = [request for request in proxy.requests if request.method == "POST"]
    assert (ran.code, len(posts)) == (1, 1)
    assert ran.out.endswith("\n")
    assert ran.out.strip()
    assert ran.err.startswith("resilient-foundry: ")
    assert ran.err.count("\n") == 1
