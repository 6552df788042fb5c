"""Finding the service: argument, environment, command."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import psutil
import pytest

from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient, ServiceNotFoundError, SettingsError
from resilient_foundry.foundry.locate import ask_command, url_of

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="the stand-in for the command is a POSIX script")


def command(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `foundry` command that runs this script."""
    program = folder / "foundry"
    program.write_text(f"#!{sys.executable}\nimport sys\narguments = sys.argv[1:]\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("service", "url"),
    [
        (SimpleNamespace(urls=["http://127.0.0.1:5273"]), "http://127.0.0.1:5273"),
        (SimpleNamespace(service_uri="http://127.0.0.1:1", endpoint="http://127.0.0.1:1/v1"), "http://127.0.0.1:1"),
        (SimpleNamespace(endpoint="http://127.0.0.1:1/v1"), "http://127.0.0.1:1"),
        (SimpleNamespace(url="http://127.0.0.1:2"), "http://127.0.0.1:2"),
        ("http://localhost:3/v1", "http://localhost:3"),
    ],
)
def test_any_generations_manager_will_do(service: Any, url: str) -> None:
    """By attribute: no SDK is imported."""
    assert url_of(service) == url


def test_a_manager_without_its_web_service_says_so() -> None:
    """`urls` is None before start_web_service()."""
    manager: Any = SimpleNamespace(urls=None)
    with pytest.raises(ServiceNotFoundError, match=r"its web service is not running, so call start_web_service\(\)"):
        url_of(manager)


def test_what_is_neither_url_nor_manager_is_a_type_error() -> None:
    """A wrong argument, not a missing service."""
    wrong: Any = 5273
    with pytest.raises(TypeError, match="base_url is a URL or a manager of foundry-local-sdk, not int"):
        url_of(wrong)


def test_a_url_that_is_none_is_one_sentence() -> None:
    """At once, when the client is made."""
    with pytest.raises(SettingsError, match="base_url is 'foo', which is no http:// or https:// URL"):
        FoundryClient("foo")


def test_the_environment_is_used_without_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an argument wins over it."""
    monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", "http://127.0.0.1:7/v1")
    with FoundryClient() as client, FoundryClient("http://127.0.0.1:8") as other:
        assert (client.base_url, other.base_url) == ("http://127.0.0.1:7", "http://127.0.0.1:8")


@ON_POSIX
def test_the_new_command_answers_in_json_after_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`foundry server status -o json` of 0.10."""
    script = """
assert arguments == ["server", "status", "-o", "json"], arguments
print("Registering execution providers {CPU, ...}")
print('{"running": true, "webUrls": ["http://127.0.0.1:5273"]}')
"""
    command(tmp_path, script, monkeypatch)
    assert ask_command() == "http://127.0.0.1:5273"


@ON_POSIX
def test_the_old_command_answers_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`foundry service status` up to 0.9."""
    script = """
if arguments != ["service", "status"]: sys.exit("Unrecognized command 'server'")
print("Model management service is running on http://127.0.0.1:54321/openai/status")
"""
    command(tmp_path, script, monkeypatch)
    assert ask_command() == "http://127.0.0.1:54321"


@ON_POSIX
def test_a_stopped_service_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is there and knows of none."""
    command(tmp_path, """print('{"running": false, "webUrls": []}')""", monkeypatch)
    with pytest.raises(ServiceNotFoundError, match="knows of no running service; start the service"):
        ask_command()


@ON_POSIX
def test_a_command_that_tells_nonsense_knows_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mistake, and not one of the settings."""
    command(tmp_path, """print('{"webUrls": ["http://127.0.0.1:99999"]}')""", monkeypatch)
    with pytest.raises(ServiceNotFoundError, match="the URL that the `foundry` command told is"):
        ask_command()


@ON_POSIX
@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.1.2.3", "0.0.0.0"])
def test_every_name_of_this_machine_is_believed(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is asked about services of this machine."""
    command(tmp_path, f"""print('{{"webUrls": ["http://{host}:5273"]}}')""", monkeypatch)
    assert ask_command() == f"http://{host}:5273"


@ON_POSIX
@pytest.mark.parametrize("host", ["192.0.2.1", "localhost.example", "127.0.0.1.example", "[2001:db8::1]"])
def test_another_machine_is_not_believed(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests, and the key in them, go where the user said."""
    command(tmp_path, f"""print('{{"webUrls": ["http://{host}:5273"]}}')""", monkeypatch)
    with pytest.raises(ServiceNotFoundError, match="which is not this machine; pass it as base_url="):
        ask_command()


@ON_POSIX
def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take so long and no longer."""
    command(tmp_path, "import time\ntime.sleep(60)", monkeypatch)
    with pytest.raises(ServiceNotFoundError):
        ask_command(0.05)


def test_no_service_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument, no variable, no command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with FoundryClient(model="m") as client, pytest.raises(ServiceNotFoundError) as caught:
        client.complete("hi")
    for hint in ("FOUNDRY_LOCAL_ENDPOINT is not set", "no `foundry` command", "start the service", "base_url="):
        assert hint in str(caught.value)


@ON_POSIX
@pytest.mark.anyio
async def test_a_cancelled_call_does_not_wait_for_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves at once, and leaves no process."""
    started = tmp_path / "started"
    script = f"""
import os, time
open({str(started)!r} + ".new", "w").write(str(os.getpid()))
os.rename({str(started)!r} + ".new", {str(started)!r})
time.sleep(60)
"""
    command(tmp_path, script, monkeypatch)
    begin = time.monotonic()
    async with AsyncFoundryClient(model="m") as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.complete, "hi")
        with anyio.fail_after(10):
            while not started.exists():  # noqa: ASYNC110 - another process, which sets no Event
                await anyio.sleep(0.01)
        begin = time.monotonic()
        tasks.cancel_scope.cancel()
    assert time.monotonic() - begin < 2.0
    asked = int(started.read_text())
    with anyio.fail_after(5):
        while psutil.pid_exists(asked):  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)
