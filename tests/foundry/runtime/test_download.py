"""A model of the real catalogue, with a stand-in for the SDK: the real one needs a network and gigabytes."""

from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import LocalRuntime, RuntimeStartError

STAND_IN = """
import enum, http.server, threading

class LogLevel(enum.Enum):
    WARNING = 3

class Configuration:
    class WebService:
        def __init__(self, urls): pass
    def __init__(self, **settings):
        assert "catalog_urls" not in settings, "the real catalogue is not replaced"

class Status(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

class Model:
    alias, id, is_cached = "phi-4-mini", "phi-4-mini-instruct-generic-cpu:5", False
    def download(self, on_progress):
        print("the SDK prints too")
        for percent in (0.0, 50.0, 100.0):
            on_progress(percent)
        if FULL:
            raise OSError("No space left on device")
        self.is_cached = True
    def load(self):
        assert self.is_cached

class Catalog:
    def get_model(self, alias):
        return Model() if alias == "phi-4-mini" else None
    def list_models(self):
        return [Model()]

class FoundryLocalManager:
    instance = None
    catalog = Catalog()
    @classmethod
    def initialize(cls, configuration):
        cls.instance = cls()
    def start_web_service(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Status)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.urls = [f"http://127.0.0.1:{server.server_port}/"]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place from where the child imports the stand-in."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "foundry_local_sdk.py"


def test_tells_how_far_it_is(install: Path) -> None:
    """Gigabytes take minutes; whoever waits is told."""
    install.write_text(f"FULL = False\n{STAND_IN}")
    heard: list[float] = []
    with LocalRuntime(model="phi-4-mini", on_progress=heard.append) as runtime:
        assert runtime.models == (("phi-4-mini", "phi-4-mini-instruct-generic-cpu:5"),)
    assert heard == [0.0, 50.0, 100.0]


def test_says_why_a_download_failed(install: Path) -> None:
    """The SDK's reason and what to do about it, in one sentence."""
    install.write_text(f"FULL = True\n{STAND_IN}")
    with pytest.raises(RuntimeStartError) as refusal:
        LocalRuntime(model="phi-4-mini").start()
    assert str(refusal.value) == (
        "Foundry Local did not start: the model 'phi-4-mini' could not be downloaded (No space left on device); "
        "check the network and the space on the disk, and start again"
    )


def test_names_the_models_there_are_when_one_is_not(install: Path) -> None:
    """A misspelt alias is seen at once."""
    install.write_text(f"FULL = False\n{STAND_IN}")
    with pytest.raises(RuntimeStartError, match="has no model 'phi-5'; the nearest are phi-4-mini"):
        LocalRuntime(model="phi-5").start()


def test_an_error_of_the_listener_ends_the_start(install: Path) -> None:
    """What `on_progress` raises reaches the caller, and nothing is left running."""
    install.write_text(f"FULL = False\n{STAND_IN}")

    def listen(percent: float) -> None:
        raise KeyError(percent)

    runtime = LocalRuntime(model="phi-4-mini", on_progress=listen)
    with pytest.raises(KeyError):
        runtime.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = runtime.pid
