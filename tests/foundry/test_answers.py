"""What failures mean: every captured answer is exactly one error and one verdict."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_foundry.faults import Verdict
from resilient_foundry.foundry import (
    ContextLengthExceededError,
    EndpointNotFoundError,
    FoundryError,
    Generation,
    InferenceError,
    InvalidRequestError,
    LoadFailedError,
    ModelBusyError,
    ModelNotCachedError,
    ModelNotFoundError,
    ModelNotLoadedError,
    NotFoundryError,
    ServiceBusyError,
    ServiceFailedError,
    judge,
)
from resilient_foundry.foundry.answers import error_of, readable
from tests.foundry.servers import SIGNATURE, TOO_LONG

ONE, TWO = Generation.ONE, Generation.TWO
CALLER, SERVER, BUSY = Verdict.CALLER, Verdict.SERVER, Verdict.BUSY
NO_MAPPING = (
    "server=oatpp/1.3.0\ncode=404\ndescription=Not Found\nmessage=No mapping for HTTP-method: 'GET', URL: '/nope'\n"
)
TOO_LONG_ON_1 = (
    "Failed to handle OpenAI completion: This request requires 5002 total tokens (2 input + 5000 output), which "
    "exceeds the model's maximum context length of 4096 tokens. Please reduce 'max_tokens'or shorten your input."
)
NO_TOOLS = (
    "Inference failed: chat_session.cc:1197 fl::ToolCallContext fl::{anonymous}::BuildToolCallContextForRequest(const "
    "fl::Request&, const fl::KeyValuePairs&, fl::ILogger&) structured tool calling requires model-published opening "
    "and closing tool markers"
)


def envelope(message: str, kind: str = "invalid_request_error", code: str | None = None) -> bytes:
    """An error as both write it."""
    return json.dumps({"error": {"code": code, "message": message, "param": None, "type": kind}}).encode()


CAPTURED: list[tuple[Generation, int, bytes, type[FoundryError], Verdict]] = [
    (TWO, 404, NO_MAPPING.encode(), EndpointNotFoundError, CALLER),
    (TWO, 404, envelope("Model not found: No model matching 'nope'"), ModelNotFoundError, CALLER),
    (TWO, 400, envelope("Model not loaded: Model 'a:1' must be loaded before inference"), ModelNotLoadedError, CALLER),
    (TWO, 400, envelope("Model not cached: a"), ModelNotCachedError, CALLER),
    (TWO, 500, envelope("Load failed: bad genai_config", "server_error"), LoadFailedError, CALLER),
    (TWO, 500, envelope("Unload failed: 1 session(s) still using it", "server_error"), ModelBusyError, BUSY),
    (TWO, 400, envelope(f"Invalid request: {TOO_LONG}"), ContextLengthExceededError, CALLER),
    (TWO, 400, envelope("Invalid JSON: [json.exception.parse_error.101]"), InvalidRequestError, CALLER),
    (TWO, 400, envelope("Empty request body"), InvalidRequestError, CALLER),
    (TWO, 500, b"[json.exception.type_error.316] invalid UTF-8 byte at index 5", InvalidRequestError, CALLER),
    (TWO, 500, b"[json.exception.out_of_range.406] number overflow", InvalidRequestError, CALLER),
    (TWO, 500, b"Server content decoders are NOT configured", InvalidRequestError, CALLER),
    (TWO, 500, envelope("Inference failed: stoi", "server_error"), InvalidRequestError, CALLER),
    (TWO, 500, envelope("top_k (999) must be less than 300", "server_error"), InvalidRequestError, CALLER),
    (TWO, 500, envelope(NO_TOOLS, "server_error"), InvalidRequestError, CALLER),
    (
        TWO,
        500,
        envelope("Generator output 'hidden_states' was not found.", "server_error"),
        InvalidRequestError,
        CALLER,
    ),
    (TWO, 500, envelope("failed to create generator", "server_error"), InvalidRequestError, CALLER),
    (TWO, 500, envelope("token generation failed", "server_error"), InferenceError, SERVER),
    (TWO, 500, envelope("Model emitted an invalid tool call", "server_error"), InferenceError, SERVER),
    (TWO, 500, envelope("Tokenizer pointer is null", "server_error"), InferenceError, SERVER),
    (TWO, 500, envelope("std::bad_alloc", "server_error"), InferenceError, SERVER),
    (ONE, 400, envelope("Model 'a' is not loaded. Please load the model before"), ModelNotLoadedError, CALLER),
    (ONE, 400, envelope(TOO_LONG_ON_1), ContextLengthExceededError, CALLER),
    (ONE, 400, envelope("at least one Chat request message"), InvalidRequestError, CALLER),
    (ONE, 404, envelope("no", code="model_not_found"), ModelNotFoundError, CALLER),
    (ONE, 404, json.dumps(envelope("no", code="model_not_found").decode()).encode(), ModelNotFoundError, CALLER),
    (ONE, 404, b"", EndpointNotFoundError, CALLER),
    (ONE, 405, b"", InvalidRequestError, CALLER),
    (ONE, 500, envelope("Invalid OpenAI JSON request: x"), InvalidRequestError, CALLER),
    (ONE, 500, envelope("top_p must be between 0 and 1"), InvalidRequestError, CALLER),
    (ONE, 500, envelope("top_k must be 0 or greater"), InvalidRequestError, CALLER),
    (ONE, 500, envelope("Failed: Non-zero status code returned while running Gather"), InferenceError, SERVER),
    (ONE, 500, envelope("std::bad_alloc"), InferenceError, SERVER),
    (ONE, 500, b"", InferenceError, SERVER),
    (TWO, 503, b"busy", ServiceBusyError, BUSY),
    (ONE, 429, b"", ServiceBusyError, BUSY),
    (TWO, 502, b"Bad Gateway", ServiceFailedError, SERVER),
]


@pytest.mark.parametrize(("generation", "status", "body", "kind", "verdict"), CAPTURED)
def test_every_captured_answer_has_its_meaning(
    generation: Generation, status: int, body: bytes, kind: type[FoundryError], verdict: Verdict
) -> None:
    """The table of both servers, row for row; the verdict needs no generation."""
    error = error_of(status, {}, body, generation)
    assert type(error) is kind
    assert (error.status, error.body) == (status, body)
    assert judge(status, {}, body) is verdict


def test_the_numbers_of_the_budget_are_read() -> None:
    """They say how much to shorten."""
    for generation, message in ((TWO, TOO_LONG), (ONE, TOO_LONG_ON_1)):
        error = error_of(400, {}, envelope(message), generation)
        assert isinstance(error, ContextLengthExceededError)
        assert (error.needed, error.limit) == (5002, 4096)


@pytest.mark.parametrize("prefix", ["", "Invalid request: "])
def test_signatures_of_the_server_are_not_shown(prefix: str) -> None:
    """A person reads the sentence, a program the body."""
    assert readable(prefix + SIGNATURE + "request requires more") == "request requires more"
    error = error_of(500, {}, envelope(NO_TOOLS), TWO)
    assert "ToolCallContext" not in str(error)
    assert b"ToolCallContext" in error.body


@pytest.mark.parametrize("generation", [None, ONE, TWO])
def test_a_page_is_no_foundry(generation: Generation | None) -> None:
    """Some other web server listens there."""
    body = b"<!DOCTYPE html><html><title>404</title></html>"
    error = error_of(404, {"content-type": "text/html"}, body, generation)
    assert isinstance(error, NotFoundryError)
    assert "<" not in str(error)


def test_an_error_inside_a_good_answer_is_judged_by_what_it_says() -> None:
    """A stream begins with 200 before the server has done anything."""
    event = b"data: " + envelope("token generation failed", "server_error") + b"\n\n"
    assert judge(200, {}, event) is SERVER
    assert judge(200, {}, b"event: error\n" + event) is SERVER
    assert judge(200, {}, b"data: " + envelope(TOO_LONG) + b"\n\n") is CALLER
    assert judge(200, {}, b'data: {"choices":[{"delta":{"content":"\\"error\\""}}]}\n\n') is Verdict.GOOD
    assert judge(200, {}, b'{"error":null}') is Verdict.GOOD
    assert judge(200, {}, b"") is Verdict.GOOD


@settings(deadline=None)
@given(
    st.sampled_from([None, ONE, TWO]),
    st.none() | st.integers(300, 599),
    st.binary(max_size=60) | st.text(max_size=40).map(envelope),
)
def test_every_answer_is_one_error_with_one_line(
    generation: Generation | None, status: int | None, body: bytes
) -> None:
    """Never a bare json or key error, whatever a server says."""
    error = error_of(status, {}, body, generation)
    assert str(error)
    assert "\n" not in str(error)


def test_errors_travel_between_processes() -> None:
    """A batch in a process pool raises them too."""
    error = error_of(400, {}, envelope(TOO_LONG), TWO)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), str(copy), copy.status, copy.needed) == (type(error), str(error), 400, 5002)


@pytest.mark.parametrize("body", [b"Dear Ms Smith", b'{"letter": "Dear Ms Smith"}', b"<html>Dear Ms Smith</html>"])
@pytest.mark.parametrize("status", [400, 404, 418, 500, 502])
def test_a_body_that_is_no_message_of_the_server_is_not_quoted(status: int, body: bytes) -> None:
    """It may be anybody's words; whoever needs them finds them in `error.body`."""
    error = error_of(status, {}, body)
    assert "Smith" not in str(error)
    assert error.body == body


def test_a_message_of_the_server_is_quoted() -> None:
    """It is what the error is for."""
    assert "out of paper" in str(error_of(500, {}, b'{"error": {"message": "out of paper"}}'))


def test_an_error_event_of_a_stream_is_quoted() -> None:
    """Also one that is no JSON: what stands there is the message."""
    assert "out of paper" in str(error_of(None, {}, b"out of paper"))
