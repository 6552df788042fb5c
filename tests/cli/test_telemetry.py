"""Spans of the commands, sent where OTEL_EXPORTER_OTLP_ENDPOINT says."""

from __future__ import annotations

import json
import time

import pytest

from resilient_foundry.cli import demo
from resilient_foundry.cli.demo.scenes import Scene
from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Reset, each_post
from resilient_foundry.harness.proxy import FaultProxy
from tests.cli.command import run
from tests.cli.receiver import receiver
from tests.servers import Server, closed_port, says_nothing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SHORT = (Scene("connection reset", streamed=True, faults=(Reset(), Reset())),)


def test_a_chat_sends_its_call_and_the_attempts_under_it(runtime: LocalRuntime) -> None:
    """As a person sees it in Jaeger: one call, two attempts, the second a repetition of the first."""
    with receiver() as received, FaultProxy(runtime.url, each_post(Reset())) as proxy:
        ran = run(
            "chat", "Why?", "--model", RESILIENCE.id, "--url", proxy.url, OTEL_EXPORTER_OTLP_ENDPOINT=received.url
        )
    assert (ran.code, ran.err) == (0, "")
    assert (received.paths, received.services) == (["/v1/traces", "/v1/metrics"], {"resilient-foundry"})
    assert {"http.client.request.duration", "gen_ai.client.operation.duration"} <= received.metrics
    [call] = [span for span in received.spans if span.name == f"chat {RESILIENCE.id}"]
    assert not call.parent_span_id
    under = sorted(received.children_of(call), key=lambda span: span.start_time_unix_nano)
    question, *attempts = under
    assert question.name == "foundry_local status"
    assert [span.name for span in attempts] == ["POST /v1/chat/completions"] * 2
    resent = [
        [each.value.int_value for each in span.attributes if each.key == "http.request.resend_count"]
        for span in attempts
    ]
    assert resent == [[], [1]]


def test_a_demo_sends_the_spans_that_it_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In addition to counting them; to the address of the traces, as it is, where that is given."""
    with receiver() as received:
        monkeypatch.setenv(TRACES_ENDPOINT, f"{received.url}/here")
        monkeypatch.setenv(ENDPOINT, closed_port())
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
        assert demo.run(as_json=True, scenes=SHORT) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["spans"] == {"calls": 1, "attempts": 3}
    assert printed.err == ""
    assert (received.paths, received.services) == (["/here"], {"mine"})
    [call] = [span for span in received.spans if span.name == f"chat {RESILIENCE.id}"]
    assert len(received.children_of(call)) == 3


def test_nobody_there_to_take_the_spans_fails_nothing(runtime: LocalRuntime) -> None:
    """The answer is there, the exit code is 0, and one sentence says what is missing."""
    url = closed_port()
    ran = run("chat", "Why?", "--url", runtime.url, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert ran.code == 0
    assert ran.out
    assert ran.err.startswith("resilient-foundry: nobody took the ")
    assert ran.err.endswith(f" spans at {url}\n")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("bad", ["nonsense", "http://", "::"])
def test_an_endpoint_that_is_none_fails_nothing(runtime: LocalRuntime, bad: str) -> None:
    """Not even a URL that is no URL."""
    ran = run("chat", "Why?", "--url", runtime.url, OTEL_EXPORTER_OTLP_ENDPOINT=bad)
    assert ran.code == 0
    assert ran.out
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err


def test_a_collector_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The end of a command waits for some seconds at most."""
    with Server(says_nothing) as server:
        monkeypatch.setenv(ENDPOINT, server.url)
        began = time.monotonic()
        assert demo.run(as_json=True, scenes=SHORT[:0]) == 0
        assert time.monotonic() - began < 15
    assert "nobody took the" in capsys.readouterr().err


def test_without_the_extra_the_chat_goes_on(runtime: LocalRuntime) -> None:
    """Whoever asks for spans and has no SDK is told how to get one, and gets the answer."""
    blocker = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="opentelemetry")
sys.meta_path.insert(0, Missing())
"""
    ran = run("chat", "Why?", "--url", runtime.url, first=blocker, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert ran.code == 0
    assert ran.out
    assert "'resilient-foundry[telemetry]'" in ran.err
    assert ran.err.count("\n") == 1
