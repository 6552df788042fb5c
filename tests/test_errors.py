"""What we refuse wears two names: ours, and the library's."""

import pickle
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient_foundry import (
    CircuitBreaker,
    CircuitOpenError,
    Deadline,
    DeadlineExceededError,
    Ledger,
    ResilienceError,
    Retry,
    Stack,
    StackError,
)
from resilient_foundry.testing import Failure, failed, ok, rehearse, scripted
from tests.over import over

LIBRARIES = [httpx, httpx2]
TOO_LATE = Failure(error="ReadTimeout")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_a_refusal_of_a_circuit_is_a_transport_error_of_the_library(library: ModuleType) -> None:
    """So `except httpx.HTTPError` and every SDK on top keep working."""
    transport = over(Stack(CircuitBreaker(failures=1)), scripted(failed(), module=library))
    with library.Client(transport=transport) as client:
        client.get("http://foundry.local/")
        with pytest.raises(library.TransportError) as caught:
            client.get("http://foundry.local/")
    error = caught.value
    assert isinstance(error, CircuitOpenError)
    assert not isinstance(error, library.TimeoutException)
    assert error.circuit == "http://foundry.local:80"
    assert error.retry_after == pytest.approx(5, abs=0.5)
    assert "circuit for http://foundry.local:80 is open; next probe in" in str(error)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_a_passed_deadline_is_a_timeout_of_the_library(library: ModuleType) -> None:
    transport = over(Stack(Deadline(1e-9)), scripted(TOO_LATE, module=library))
    with library.Client(transport=transport) as client, pytest.raises(library.TimeoutException) as caught:
        client.get("http://foundry.local/")
    assert isinstance(caught.value, DeadlineExceededError)
    assert caught.value.seconds == 1e-9


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_what_leaves_a_transport_knows_its_request_and_its_ledger(library: ModuleType) -> None:
    transport = over(Stack(Deadline(1e-9)), scripted(TOO_LATE, module=library))
    with library.Client(transport=transport) as client, pytest.raises(ResilienceError) as caught:
        client.get("http://foundry.local/v1/models")
    error: Any = caught.value  # dressed as the library's own, which a checker can't see
    assert isinstance(error.resilience, Ledger)
    assert str(error.request.url) == "http://foundry.local/v1/models"


def test_an_error_of_the_library_carries_the_ledger_too() -> None:
    client = httpx.Client(transport=Stack(Retry(attempts=1)).over(httpx.MockTransport(refuse)))
    with client, pytest.raises(httpx.ConnectError) as caught:
        client.get("http://foundry.local/")
    error: Any = caught.value
    ledger: Ledger = error.resilience
    assert [attempt.error for attempt in ledger.attempts] == ["ConnectError"]


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def test_the_class_is_one_and_the_same_for_all_errors_of_a_library() -> None:
    """An `except` that caught one of them catches them all."""
    first = rehearse(Deadline(1.0), ok(after=2.0)).error
    second = rehearse(Deadline(1.0), ok(after=2.0)).error
    assert type(first) is type(second)
    assert type(first).__name__ == "DeadlineExceededError"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_an_error_travels_between_processes(library: ModuleType) -> None:
    """As what it is without the library, with its facts; a ledger and a request stay at home."""
    transport = over(Stack(CircuitBreaker(failures=1)), scripted(failed(), module=library))
    with library.Client(transport=transport) as client:
        client.get("http://foundry.local/")
        with pytest.raises(CircuitOpenError) as caught:
            client.get("http://foundry.local/")
    arrived = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert type(arrived) is CircuitOpenError
    assert str(arrived) == str(caught.value)
    assert (arrived.circuit, arrived.retry_after) == (caught.value.circuit, caught.value.retry_after)
    assert arrived.resilience is None


def test_a_stack_error_is_a_value_error() -> None:
    assert issubclass(StackError, ValueError)
    assert not issubclass(StackError, ResilienceError)
