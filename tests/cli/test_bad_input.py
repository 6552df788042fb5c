"""What can go wrong at a terminal: one clear sentence each, the right exit code, no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from resilient_foundry.harness.faults import Stall, always
from resilient_foundry.harness.proxy import FaultProxy
from tests.cli.command import run
from tests.cli.conftest import Command
from tests.servers import Server, closed_port, replies

COMMANDS = (
    ("health",),
    ("chat", "Why?"),
    ("chat", "Why?", "--model", "some-model"),
    ("models", "list"),
    ("models", "load", "some-model"),
    ("models", "unload", "some-model"),
)
ASKING = COMMANDS[1:]
"""All but `health`, to which a service that does not answer is an answer."""


def names(arguments: tuple[str, ...]) -> str:
    """A command as the name of a test."""
    return " ".join(arguments)


@pytest.mark.parametrize("arguments", COMMANDS, ids=names)
def test_a_url_that_is_no_url(command: Command, arguments: tuple[str, ...]) -> None:
    """The option is named, as it was typed."""
    assert command(*arguments, "--url", "nonsense").complaint.startswith("--url is 'nonsense', which is no http://")


@pytest.mark.parametrize("arguments", ASKING, ids=names)
def test_a_port_on_which_nobody_listens(command: Command, arguments: tuple[str, ...]) -> None:
    """Who was asked comes first, what the system calls it after."""
    url = closed_port()
    complaint = command(*arguments, "--url", url).complaint
    assert complaint.startswith(f"nothing answers at {url}: is Foundry Local running, and is that its present port? (")
    assert "Connection refused" in complaint


@pytest.mark.parametrize("arguments", ASKING, ids=names)
def test_a_server_that_is_no_foundry(command: Command, arguments: tuple[str, ...]) -> None:
    """Some other web server, which knows no such page."""
    page = b"<html><body><h1>404 Not Found</h1></body></html>"
    with Server(replies(404, page, {"content-type": "text/html"})) as server:
        complaint = command(*arguments, "--url", server.url).complaint
        health = command("health", "--url", server.url)
    assert complaint.startswith(f"{server.url} is no Foundry Local: ")
    assert "<html>" not in complaint
    assert (health.code, health.err) == (1, "")
    assert health.out.startswith(f"unreachable\n{server.url} is no Foundry Local: ")


@pytest.mark.parametrize("arguments", ASKING, ids=names)
def test_no_service_anywhere(
    command: Command, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was tried, and what somebody at a terminal can do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    complaint = command(*arguments).complaint
    assert complaint.startswith("no Foundry Local service was found: FOUNDRY_LOCAL_ENDPOINT is not set")
    assert complaint.endswith("name its URL with --url")
    health = command("health")
    assert health.code == 1
    assert health.out.startswith("unreachable\nno Foundry Local service was found: ")
    assert health.out.endswith("name its URL with --url\n")


@pytest.mark.parametrize(
    "arguments", [("chat", "Why?", "--model", "nobody"), ("models", "load", "nobody"), ("models", "unload", "nobody")]
)
def test_a_model_that_the_service_does_not_know(
    command: Command, runtime: LocalRuntime, arguments: tuple[str, ...]
) -> None:
    """It is named, and so are those that the service has."""
    complaint = command(*arguments, "--url", runtime.url).complaint
    assert "'nobody'" in complaint
    assert RESILIENCE.id in complaint


@pytest.mark.parametrize("prompt", ["", "  "])
def test_an_empty_prompt(command: Command, runtime: LocalRuntime, prompt: str) -> None:
    """Refused before anything is sent, on the command line and on standard input."""
    assert "prompt is empty" in command("chat", prompt, "--url", runtime.url).complaint
    assert "prompt is empty" in command("chat", "-", "--url", runtime.url, given=prompt).complaint


def test_a_service_that_does_not_answer_in_time(
    command: Command, runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked, and that time ran out; the HTTP library alone would only say `timed out`."""
    monkeypatch.setenv("FOUNDRY_TIMEOUT", "0.2")
    monkeypatch.setenv("FOUNDRY_RETRIES", "0")
    with FaultProxy(runtime.url, always(Stall())) as proxy:
        complaint = command("chat", "Why?", "--model", RESILIENCE.id, "--url", proxy.url).complaint
    assert complaint.startswith(f"no answer to POST {proxy.url}/v1/chat/completions: timed out")


def test_a_port_that_is_taken(command: Command) -> None:
    """The port is named, and so is the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = command("serve", "--port", str(port)).complaint
    assert complaint.startswith(f"Foundry Local did not start: port {port} of 127.0.0.1 ")
    assert complaint.endswith("name another one, or 0 for any that is free")


def test_an_empty_name_of_a_model(command: Command, runtime: LocalRuntime) -> None:
    """Not taken for none."""
    assert command("chat", "Why?", "--model", "", "--url", runtime.url).complaint.startswith("model is ''")


def test_a_temperature_out_of_range(command: Command, runtime: LocalRuntime) -> None:
    """The server's limits are said before the server is asked."""
    assert "temperature" in command("chat", "Why?", "--temperature", "9", "--url", runtime.url).complaint


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FOUNDRY_LOCAL_ENDPOINT", "localhost"),
        ("FOUNDRY_TIMEOUT", "soon"),
        ("FOUNDRY_RETRIES", "-1"),
        ("FOUNDRY_LOG_LEVEL", "loud"),
        ("FOUNDRY_API_KEY", "two words"),
    ],
)
def test_a_variable_with_a_bad_value(
    command: Command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The variable is named, and what it accepts; a key is not quoted."""
    monkeypatch.setenv(variable, value)
    complaint = command("health").complaint
    assert complaint.startswith(variable)
    assert ("two words" in complaint) is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("chat",),
        ("bogus",),
        ("health", "--bogus"),
        ("chat", "Why?", "--max-tokens", "0"),
        ("chat", "Why?", "--max-tokens", "many"),
        ("serve", "--port", "70000"),
        ("models", "load"),
    ],
    ids=names,
)
def test_a_command_line_that_makes_no_sense(command: Command, arguments: tuple[str, ...]) -> None:
    """Usage errors exit with 2, and name the command as people type it."""
    ran = command(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: resilient-foundry ")
    assert "Error: " in ran.err


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("typer", ("health",), "cli"),
        ("rich", ("health",), "cli"),
        ("numpy", ("demo",), "foundry"),
        ("onnx", ("serve",), "foundry"),
    ],
)
def test_an_extra_that_is_not_installed(package: str, arguments: tuple[str, ...], extra: str) -> None:
    """The sentence ends with the command that installs it."""
    blocker = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
    complaint = run(*arguments, first=blocker).complaint
    assert complaint.startswith(f"this needs the package '{package}', which is not installed; ")
    assert complaint.endswith(f"install it with: python -m pip install 'resilient-foundry[{extra}]'")


def test_the_real_command_says_it_in_one_sentence_too() -> None:
    """In a process of its own, with an exit code that a shell understands."""
    assert run("chat", "Why?", "--url", "nonsense").complaint.startswith("--url is 'nonsense'")
    assert run("bogus").code == 2
