"""A runtime that cannot start says why in one sentence, and leaves nothing behind."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime, RuntimeStartError


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever goes wrong, the directory of the process goes too."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def reason(**settings: Any) -> str:
    """What a start with these settings complains of."""
    with pytest.raises(RuntimeStartError) as refusal, LocalRuntime(**settings):
        pass
    return str(refusal.value)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_that_is_taken(taken_port: int) -> None:
    """The port is named, and what to do."""
    assert reason(port=taken_port).startswith(
        f"Foundry Local did not start: port {taken_port} of 127.0.0.1 cannot be served on"
    )
    assert reason(port=taken_port).endswith("name another one, or 0 for any that is free")


def test_a_model_of_a_catalogue_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no network, a real model cannot be had; a built-in one can."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert reason(model="no-such-model", cache=tmp_path / "cache").startswith(
        "Foundry Local did not start: the catalogue of Foundry Local "
    )


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    assert f"{tmp_path / 'python'} cannot be run (No such file or directory)" in reason(python=tmp_path / "python")


def test_an_environment_without_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that installs it is named."""
    (tmp_path / "foundry_local_sdk.py").write_text("raise ModuleNotFoundError('No module named foundry_local_sdk')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert reason().endswith("install it there with: python -m pip install 'resilient-foundry[foundry]'")


def test_a_process_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is in the sentence, and its last words are kept with the error."""
    (tmp_path / "foundry_local_sdk.py").write_text(
        "import os, sys; print('out of luck', file=sys.stderr, flush=True); os._exit(3)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeStartError, match="its process ended with code 3 before it served") as refusal:
        LocalRuntime().start()
    assert refusal.value.log == "out of luck"
    assert refusal.value.__notes__ == ["the last lines that it wrote:\nout of luck"]


def test_a_process_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting has an end, and the setting for it is named."""
    (tmp_path / "foundry_local_sdk.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert reason(start_timeout=0.3).endswith(
        "nothing was heard of it for 0.3 seconds; give it more with `start_timeout`"
    )


SERVES_NOBODY = """
import os, threading

class LogLevel:
    WARNING = 3

class Configuration:
    class WebService:
        def __init__(self, urls): pass
    def __init__(self, **settings): pass

class Model:
    alias, id, is_cached = "resilience", "resilience-generic-cpu:1", False

class FoundryLocalManager:
    urls = ["http://127.0.0.1:1"]
    catalog = property(lambda self: self)
    initialize = classmethod(lambda cls, configuration: setattr(cls, "instance", cls()))
    get_model = lambda self, alias: Model()
    def start_web_service(self):
        if DIES:
            threading.Timer(0.2, os._exit, (7,)).start()
"""


@pytest.mark.parametrize(
    ("dies", "complaint"),
    [(True, "its process ended with code 7"), (False, "127.0.0.1:1 did not answer for 0.5 seconds")],
)
def test_a_service_that_says_it_serves_and_does_not(
    dies: bool, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an answer counts as started."""
    (tmp_path / "foundry_local_sdk.py").write_text(f"DIES = {dies}\n{SERVES_NOBODY}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert complaint in reason(start_timeout=30 if dies else 0.5)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"port": 70_000}, "port is 70000; it takes 1 to 65535, or 0 for one that is free"),
        ({"start_timeout": 0}, "start_timeout is 0; it takes seconds, more than none"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], complaint: str) -> None:
    """Said before anything is started."""
    with pytest.raises(ValueError, match=complaint):
        LocalRuntime(**settings)


def test_models_that_contradict_each_other() -> None:
    """An alias stands for one model, and a runtime has one catalogue."""
    with pytest.raises(ValueError, match="two models have the same alias; the aliases are resilience, resilience"):
        LocalRuntime(RESILIENCE, RESILIENCE)
    with pytest.raises(ValueError, match="a runtime serves either"):
        LocalRuntime(RESILIENCE, model="phi-4-mini")
