"""`resilient-foundry trace`, and where the traces of commands go."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Reset, each_post
from resilient_foundry.harness.proxy import FaultProxy
from resilient_foundry.traces.otlp import to_otlp_json
from tests.cli.command import run
from tests.cli.receiver import receiver
from tests.servers import closed_port
from tests.traces.spans import chat


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A chat that recovered, as OTLP JSON."""
    path = tmp_path / "trace.json"
    path.write_text(to_otlp_json(chat()), encoding="utf-8")
    return path


def test_a_trace_is_drawn_with_its_waits_and_what_came_of_each_attempt(file: Path) -> None:
    """In the order in which it happened, within 80 columns."""
    ran = run("trace", str(file), COLUMNS="80")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    found = [re.search(r"chat phi-4-mini|waits \d.*|ConnectError|503|200", line) for line in lines[2:]]
    told = [each.group() for each in found if each is not None]
    assert told[0] == "chat phi-4-mini"
    assert [each.startswith("waits") for each in told[1:]].count(True) == 2
    assert told[-1] == "200"


def test_it_is_json_for_programs(file: Path) -> None:
    (trace,) = run("trace", str(file), "--json").json["traces"]
    assert "chat phi-4-mini" in json.dumps(trace)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["trace"], "name a file or a trace id, or say --last"),
        (["trace", "missing.json"], "missing.json"),
        (["trace", "--last"], "no command has left a trace"),
        (["trace", "4bf92f3577b34da6a3ce929d0e0e4736", "--jaeger", closed_port()], "http://127.0.0.1"),
    ],
)
def test_what_can_not_be_drawn_is_one_sentence(asked: list[str], said: str, tmp_path: Path) -> None:
    assert said in run(*asked, XDG_STATE_HOME=str(tmp_path)).complaint


def test_a_chat_leaves_its_trace_for_last_and_says_which_it_was(runtime: LocalRuntime, tmp_path: Path) -> None:
    """Also where nobody takes OTLP it is kept; the prompt is not taken for the URL."""
    with receiver() as received, FaultProxy(runtime.url, each_post(Reset())) as proxy:
        ran = run(
            "chat",
            f"--otlp={received.url}",
            "Why so secretive?",
            "--url",
            proxy.url,
            "--model",
            RESILIENCE.id,
            XDG_STATE_HOME=str(tmp_path),
        )
    assert ran.code == 0
    said = re.fullmatch(rf"trace ([0-9a-f]{{32}}): {received.url}\n", ran.err)
    assert said is not None
    assert received.paths == ["/v1/traces", "/v1/metrics"]
    assert {span.trace_id.hex() for span in received.spans} == {said[1]}
    last = run("trace", "--last", XDG_STATE_HOME=str(tmp_path))
    assert said[1] in last.out
    assert "recovered" in last.out
    assert "secretive" not in (tmp_path / "resilient-foundry" / "last-trace.json").read_text()


def test_an_address_that_could_be_the_prompt_is_asked_about() -> None:
    """Else a model would be asked about it, and nobody would get the spans."""
    assert "write http://localhost:4318" in run("chat", "--otlp", "localhost:4318").complaint


def test_a_command_that_fails_tells_no_texts_of_errors(tmp_path: Path) -> None:
    """The text of an error may quote what was asked; the class is told."""
    with receiver() as received:
        ran = run("verify", closed_port(), f"--otlp={received.url}", XDG_STATE_HOME=str(tmp_path))
    assert ran.code == 2
    (root,) = [span for span in received.spans if not span.parent_span_id]
    assert (root.name, list(root.events), root.status.message) == ("verify", [], "")
    assert [each.value.string_value for each in root.attributes if each.key == "error.type"] != []


@pytest.mark.parametrize("bad", ["--otlp=nonsense", "--otlp=ftp://user:word@there"])
def test_what_takes_no_otlp_is_said_in_one_sentence(runtime: LocalRuntime, bad: str) -> None:
    complaint = run("chat", "Why?", "--url", runtime.url, bad).complaint
    assert "it takes a URL such as http://127.0.0.1:4318" in complaint
    assert "word" not in complaint
