"""`resilient-foundry health` and `models`: looking after a service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime
from tests.cli.conftest import Command
from tests.servers import closed_port


@pytest.fixture
def unloaded() -> Iterator[LocalRuntime]:
    """A runtime of this test's own, with no model in memory."""
    with LocalRuntime(RESILIENCE, load=False) as runtime:
        yield runtime


def test_health_of_a_service_that_is_well(command: Command, runtime: LocalRuntime) -> None:
    """What a person wants to know, a line each."""
    ran = command("health", "--url", runtime.url)
    assert (ran.code, ran.err) == (0, "")
    told = dict(line.strip().split("  ", 1) for line in ran.out.splitlines()[1:])
    assert ran.out.startswith("healthy\n")
    assert told["url"].strip() == runtime.url
    assert told["generation"].strip() == "2.x"
    assert told["loaded models"].strip() == RESILIENCE.id
    assert told["memory"].strip().endswith("MB")
    assert told["latency"].strip().endswith("ms")


def test_health_as_json(command: Command, runtime: LocalRuntime) -> None:
    """The same for programs."""
    ran = command("health", "--url", runtime.url, "--json")
    assert (ran.code, ran.err) == (0, "")
    told = ran.json
    assert (told["status"], told["generation"], told["url"]) == ("healthy", "2.x", runtime.url)
    assert (told["loaded_models"], told["pid"]) == ([RESILIENCE.id], runtime.pid)
    assert told["memory_usage"] > 1_000_000
    assert 0 < told["latency"] < 10


def test_health_without_a_model_says_how_to_load_one(command: Command, unloaded: LocalRuntime) -> None:
    """It answers and can't chat: exit 1, with the command that mends it."""
    ran = command("health", "--url", unloaded.url)
    assert ran.code == 1
    assert ran.out.startswith("degraded\n")
    assert "`resilient-foundry models load`" in ran.out


def test_health_of_a_service_that_is_not_there(command: Command) -> None:
    """No error of the command: that is the answer to the question."""
    url = closed_port()
    ran = command("health", "--url", url)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith(f"unreachable\n{url} does not answer: ")
    assert len(ran.out.splitlines()) == 2
    told = command("health", "--url", url, "--json")
    assert (told.code, told.json["status"], told.json["loaded_models"]) == (1, "unreachable", [])


def test_models_are_loaded_listed_and_unloaded(command: Command, unloaded: LocalRuntime) -> None:
    """Alias or id, and each step says what became of it."""

    def listed() -> list[tuple[str, bool]]:
        return [(model["id"], model["loaded"]) for model in command("models", "list", *url, "--json").json]

    url = ("--url", unloaded.url)
    assert listed() == [(RESILIENCE.id, False)]
    loaded = command("models", "load", RESILIENCE.alias, *url, "--json")
    assert (loaded.code, loaded.json["state"], loaded.json["id"]) == (0, "loaded", RESILIENCE.id)
    assert listed() == [(RESILIENCE.id, True)]
    assert command("models", "load", RESILIENCE.alias, *url).out.startswith(f"{RESILIENCE.id}: already loaded in ")
    unload = command("models", "unload", RESILIENCE.alias, *url, "--json")
    assert (unload.code, unload.json["state"]) == (0, "unloaded")
    assert listed() == [(RESILIENCE.id, False)]
    assert "not loaded" in command("models", "unload", RESILIENCE.alias, *url).out
    assert "`resilient-foundry models load" in command("chat", "Why?", *url).complaint


def test_the_list_of_models_is_a_table_for_people(command: Command, runtime: LocalRuntime) -> None:
    """A row each."""
    ran = command("models", "list", "--url", runtime.url)
    assert (ran.code, ran.err) == (0, "")
    assert [line.split() for line in ran.out.splitlines()] == [["model", "loaded"], [RESILIENCE.id, "yes"]]
