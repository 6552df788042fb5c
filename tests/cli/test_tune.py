"""`resilient-foundry tune`: what is refused, what is said, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.origin import Behaviour, origin
from resilient_foundry.cli.tune import NO_WINNER, PROVED, service_of
from resilient_foundry.cli.tune import Asked as Arguments
from resilient_foundry.tuning.tune import Limits
from tests.cli.conftest import Command
from tests.servers import Server, closed_port, replies

SHORT = ("--requests", "400", "--seconds", "1", "--callers", "2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http://192.0.2.1",), "192.0.2.1 is not an address of this machine, and nothing was sent to it"),
        (("nonsense",), "URL is 'nonsense', which is no http:// or https:// URL"),
        (("http://127.0.0.1:1", "--library", "aiohttp"), "--library is 'aiohttp'; it takes httpx or httpx2"),
        (("http://127.0.0.1:1", "--body", "{secret"), "--body is no JSON"),
        (("http://127.0.0.1:1", "--body", "{}", "--model", "m"), "name one of them"),
        (("http://127.0.0.1:1", "--path", "status"), "--path is 'status'; it begins with a slash"),
        (("http://127.0.0.1:1", "--header", "secret"), "a --header is written 'NAME: VALUE'"),
        (("http://127.0.0.1:1", "--header", "Key: sec\nret"), "the header 'Key' can't be sent"),
        (("http://127.0.0.1:1", "--header-from", "Key=NOT_SET"), "of a variable that is set"),
    ],
)
def test_what_can_not_be_tuned_is_one_sentence(command: Command, arguments: tuple[str, ...], said: str) -> None:
    """And holds no value of a header or body."""
    complaint = command("tune", *arguments).complaint
    assert said in complaint
    assert "secret" not in complaint


def test_a_port_on_which_nobody_listens_is_named(command: Command) -> None:
    url = closed_port()
    assert f"nothing listens at port {url.rpartition(':')[2]}" in command("tune", url).complaint


def test_a_page_that_is_not_there_is_asked_for_once(command: Command) -> None:
    with Server(replies(404, b"")) as server:
        complaint = command("tune", server.url, "--path", "/a?key=secret").complaint
    assert complaint == f"{server.url} answers GET /a with status 404; name another --path"


def test_a_server_is_tuned_and_told_about(command: Command, tmp_path: Path) -> None:
    """With a table of what was measured; a number of its own only where it was proved. Keys are shown nowhere."""
    file = tmp_path / "tuned.json"
    with origin(Behaviour(delay=0.002, slots=2)) as server:
        ran = command("tune", server.url, *SHORT, "--header", "X-Key: secret", "--out", str(file))
    told = json.loads(file.read_text(encoding="utf-8"))
    assert ran.code in {PROVED, NO_WINNER}
    assert (ran.code == PROVED) == (told["recommended"] is not None) == ("ConcurrencyLimit(" in ran.out)
    assert ("no clear winner" in ran.out) == (ran.code == NO_WINNER)
    assert "measured: " in ran.out
    assert "library default" in ran.out
    assert "secret" not in ran.out + ran.err + file.read_text(encoding="utf-8")


def test_it_is_json_for_programs(command: Command) -> None:
    with origin(Behaviour(delay=0.002)) as server:
        told = command("tune", server.url, *SHORT, "--json", "--library", "httpx2").json
        assert told["requests"] == server.counts().requests <= 400
    assert told["url"] == server.url
    assert next(each["name"] for each in told["contenders"]) == "recommended"
    assert (told["python"] is None) == bool(told["objections"])


def test_a_model_is_asked_for_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key that the client would send."""
    monkeypatch.setenv("FOUNDRY_API_KEY", "secret")
    with origin() as server:
        asked = service_of(Arguments(url=server.url, allowed=Limits(), model="phi-4-mini"))
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.content == {
        "model": "phi-4-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
    }
    assert asked.headers["Authorization"] == "Bearer secret"
    assert "secret" not in repr(asked)


def test_the_value_of_a_header_may_stand_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no list of processes shows it."""
    monkeypatch.setenv("MY_KEY", "secret")
    with origin() as server:
        asked = service_of(Arguments(url=server.url, allowed=Limits(), header_from=["X-Key=MY_KEY"], body="[1]"))
    assert dict(asked.headers) == {"X-Key": "secret"}
    assert (asked.method, asked.content) == ("POST", [1])
