"""Health never raises for a service that is not there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from resilient_foundry.foundry import FoundryClient, Generation, NotFoundryError, ServiceNotFoundError
from tests.foundry.conftest import Connect
from tests.foundry.servers import Answer, One, Two, fault

PHI = "phi-4-mini-instruct-cpu:1"


def test_a_service_with_a_loaded_model_is_healthy(connect: Connect) -> None:
    """It answers, and could chat at once."""
    health = connect(Two(loaded=[PHI])).health_check()
    assert (health.status, health.loaded_models, health.reason) == ("healthy", (PHI,), None)
    assert (health.generation, health.pid, health.url) == (Generation.TWO, 4711, "http://127.0.0.1:5273")
    assert health.latency is not None


def test_a_service_without_a_model_is_degraded(connect: Connect) -> None:
    """With what to do."""
    health = connect(One()).health_check()
    assert (health.status, health.reason) == ("degraded", "it answers, and no model is loaded: call load_model")
    assert (health.generation, health.pid, health.memory_usage) == (Generation.ONE, None, None)


def test_a_service_that_does_not_tell_its_models_is_degraded(connect: Connect) -> None:
    """Half an answer is one."""
    health = connect(Two(script={"/models/loaded": [fault(500, "std::bad_alloc")]})).health_check()
    assert health.status == "degraded"
    assert "restart it" in str(health.reason)


def test_what_is_no_foundry_is_unreachable(connect: Connect) -> None:
    """Nothing that we can speak to."""
    health = connect(Two(script={"/status": [Answer(404, b"<html>", "text/html")]})).health_check()
    assert health.status == "unreachable"
    assert isinstance(health.error, NotFoundryError)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_closed_port_is_unreachable(library: Any) -> None:
    """One sentence that names the address."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with FoundryClient(f"http://127.0.0.1:{port}", library=library, retries=0) as client:
        health = client.health_check()
    assert (health.status, health.loaded_models) == ("unreachable", ())
    assert str(health.reason).startswith(f"http://127.0.0.1:{port} does not answer: ")
    assert health.error is not None
    assert "is Foundry Local running" in health.error.__notes__[-1]


def test_no_service_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the reason says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with FoundryClient() as client:
        health = client.health_check()
    assert isinstance(health.error, ServiceNotFoundError)
    assert "start the service" in str(health.reason)
