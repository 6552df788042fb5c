"""What both clients promise alike, and what importing them costs."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from typing import Any

import pytest

import resilient_foundry.foundry as package
from resilient_foundry import Stack
from resilient_foundry.foundry import AsyncChatStream, AsyncFoundryClient, ChatStream, FoundryClient
from resilient_foundry.foundry.connect import environment_proxies

RENAMED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__"} | {
    "__next__": "__anext__"
}
PAIRS = [(FoundryClient, AsyncFoundryClient), (ChatStream, AsyncChatStream)]


def members(kind: type) -> set[str]:
    """What a caller sees of a class."""
    own = {name for name in vars(kind) if not name.startswith("_")}
    return own | {name for name in (*RENAMED, *RENAMED.values(), "__init__") if name in vars(kind)}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_clients_have_the_same_methods_parameters_and_docs(one: Any, other: Any) -> None:
    """What is learned on one holds for the other."""
    assert {RENAMED.get(name, name) for name in members(one)} == members(other)
    for name in members(one):
        mine, theirs = inspect.getattr_static(one, name), inspect.getattr_static(other, RENAMED.get(name, name))
        assert inspect.getdoc(mine) == inspect.getdoc(theirs), name
        if callable(mine):
            assert list(inspect.signature(mine).parameters.values())[1:] == [
                parameter.replace(annotation=str(parameter.annotation).replace("Async", ""))
                for parameter in list(inspect.signature(theirs).parameters.values())[1:]
            ], name
    assert inspect.getdoc(one) == inspect.getdoc(other)


def test_the_public_names_are_sorted_and_there() -> None:
    """What is missing from the list may change."""
    assert sorted(package.__all__) == package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_import_brings_nothing_optional() -> None:
    """A plain installation is enough."""
    optional = "{'httpx2', 'numpy', 'onnx', 'onnxruntime', 'psutil', 'foundry_local_sdk', 'trio', 'rich', 'typer'}"
    # pybreaker imports redis where it finds it, and redis much else
    program = f"""
import sys
sys.modules["redis"] = None
import resilient_foundry.foundry
print(sorted({optional} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_settings_that_exclude_each_other_are_a_type_error() -> None:
    """An HTTP client of your own brings its own transport."""
    import httpx  # noqa: PLC0415

    with httpx.Client() as http:
        for settings in (
            {"http_client": http, "retries": 1},
            {"http_client": http, "stack": Stack()},
            {"stack": Stack(), "retries": 1},
        ):
            make: Any = FoundryClient
            with pytest.raises(TypeError, match="retries="):
                make("http://127.0.0.1:1", **settings)


def test_the_log_level_is_set_when_a_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no handler is added."""
    logger = logging.getLogger("resilient_foundry")
    before, handlers = logger.level, list(logger.handlers)
    monkeypatch.setenv("FOUNDRY_LOG_LEVEL", "ERROR")
    try:
        with FoundryClient("http://127.0.0.1:1"):
            assert logger.level == logging.ERROR
        assert logger.handlers == handlers
    finally:
        logger.setLevel(before)


def test_proxies_of_the_environment_become_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where trust_env=True asks for them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert environment_proxies() == {}
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost, .internal")
    assert environment_proxies() == {"http://": "http://proxy:3128", "all://localhost": None, "all://*.internal": None}
    with FoundryClient("http://127.0.0.1:1", trust_env=True):
        pass
    monkeypatch.setenv("no_proxy", "*")
    assert environment_proxies() == {}


def test_a_client_shows_what_it_speaks_to() -> None:
    """In one line."""
    with FoundryClient("http://127.0.0.1:1/v1", model="phi-4-mini") as client:
        assert repr(client) == "FoundryClient(base_url='http://127.0.0.1:1', model='phi-4-mini', library='httpx')"
