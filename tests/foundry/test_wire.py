"""JSON, names and heads that these servers survive."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry.foundry import InvalidRequestError, ProtocolError
from resilient_foundry.foundry.wire import MAX_DEPTH, check_head, decode, encode, segment


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), "JSON has no number nan"),
        (float("inf"), "JSON has no number inf"),
        ("\ud800", "half a character"),
        ({1: "a"}, "the keys of a JSON object are text, not 1"),
        (2**70, "more than 64 bits"),
        (nested(MAX_DEPTH + 2), "more than 64 levels deep"),
        (b"bytes", "can't be written as JSON"),
    ],
)
def test_what_is_no_json_is_refused(value: Any, sentence: str) -> None:
    """Each of these gets a 500 from one generation or the other, or kills it."""
    with pytest.raises(InvalidRequestError, match=sentence):
        encode([value])


def test_a_value_that_holds_itself_is_refused() -> None:
    """Nothing recurses for ever."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(InvalidRequestError, match="levels deep"):
        encode(value)


def test_text_is_sent_as_utf_8() -> None:
    """No escapes, so that what is counted is what is meant."""
    assert encode({"a": "größe 🦊"}) == '{"a":"größe 🦊"}'.encode()


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_json_is_a_protocol_error(body: bytes) -> None:
    """With what it was."""
    with pytest.raises(ProtocolError, match="the answer is not JSON") as caught:
        decode(body, "the answer")
    assert body.startswith(caught.value.body[:10])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is 2 bytes of white space"),
        (b"Dear Ms Smith, your diagnosis", "it is text of 29 bytes"),
        (b"<html>Ms Smith</html>", "it is an HTML page of 21 bytes"),
        (b"<letter>Ms Smith</letter>", "it is markup of 25 bytes"),
        (b'{"to": "Ms Smith', "it is text like a JSON object of 16 bytes"),
        (b"Ms Smith\xff", "it is binary data of 9 bytes"),
    ],
)
def test_a_body_that_is_no_json_is_described_and_not_quoted(body: bytes, said: str) -> None:
    """Errors end up in logs, and bodies must not; whoever needs it finds it in `error.body`."""
    with pytest.raises(ProtocolError) as caught:
        decode(body, "the answer")
    assert str(caught.value) == f"the answer is not JSON: {said}"
    assert caught.value.body == body


@pytest.mark.parametrize("name", ["phi-4-mini", "Phi-4-mini-instruct-cuda-gpu:5", "a.b_c+d"])
def test_names_of_models_stand_in_paths_as_they_are(name: str) -> None:
    """2.x never decodes %3A."""
    assert segment(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "größe", "a%3Ab", "a?b", "x" * 257])
def test_what_would_change_the_path_is_no_name(name: str) -> None:
    """Nor is anything else that needs an escape."""
    with pytest.raises(InvalidRequestError, match="is no name of a model"):
        segment(name)


def test_a_head_that_is_too_long_is_refused() -> None:
    """2.2.1 resets the connection at the 4097th byte, without a word; some are kept for tracing."""
    check_head("GET", b"/status", [(b"a", b"x" * 3700)])
    with pytest.raises(
        InvalidRequestError, match=r"are 4[0-9]{3} bytes long and Foundry Local resets connections beyond"
    ):
        check_head("GET", b"/status", [(b"a", b"x" * 4000)])


def test_expect_is_refused() -> None:
    """2.2.1 answers it with an interim answer that no HTTP client can read."""
    with pytest.raises(InvalidRequestError, match="Expect: 100-continue"):
        check_head("POST", b"/", [(b"Expect", b"100-continue")])
