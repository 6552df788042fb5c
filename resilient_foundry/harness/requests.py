"""Requests as hypothesis draws them: any JSON, any bytes, any path, any header; and what no live server is sent.

Hypothesis is imported when a strategy is asked for, and not before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from resilient_foundry._extras import require
from resilient_foundry.foundry.wire import MAX_DEPTH

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, slots=True)
class Excluded:
    """What the strategies leave out, since a server is known to die or to hang of it, and why.

    `contract` says so by itself, in a process of its own, where that can be said in one; `versions` are those that it
    is fatal to, as PEP 440 writes them.
    """

    what: str
    versions: str
    reason: str
    contract: str | None = None


EXCLUDED: Final = (
    Excluded(
        "JSON nested more than 64 levels deep",
        ">=2,<3",
        "the parser recurses: at some 40,000 levels the stack is used up and the process dies (SIGSEGV)",
        "robustness.survives_deep_nesting",
    ),
    Excluded(
        "loading and unloading among chats",
        ">=2,<3",
        "after some 200 rounds a chat uses what was freed and the process dies; no number of rounds shows it for sure",
    ),
    Excluded(
        "POST /shutdown, and paths that load and unload",
        "",
        "they end the service, or change what the next example needs",
    ),
    Excluded(
        "a POST with neither a length nor chunks",
        ">=2,<3",
        "the connection hangs for ever; no HTTP client sends it, ours neither",
    ),
    Excluded(
        "an embedding by a model that chats",
        "<=2.0.1",
        "the process dies (SIGSEGV) at the first",
        "embeddings.survives_a_model_for_chats",
    ),
    Excluded(
        "`top_k` and `metadata`, in which it may stand",
        ">=1,<2",
        "a top_k beyond the vocabulary kills the process (SIGSEGV)",
        "robustness.survives_a_top_k_beyond_the_vocabulary",
    ),
    Excluded(
        "a temperature below 0",
        ">=1,<2",
        "it kills the process (SIGABRT) with some models, of which none is built in",
        "robustness.survives_a_temperature_below_zero",
    ),
    Excluded(
        "text that is no JSON and not in ASCII, and bytes that are no text",
        ">=2,<3",
        "the error would quote half a character, which it can't write: 500, and no envelope",
        "robustness.unreadable_text_in_any_script_is_no_fault_of_the_server",
    ),
    Excluded(
        "`Expect`, and headers that frame the message",
        "",
        "they change what our own end of the connection reads and writes",
        "connections.a_client_may_wait_for_leave",
    ),
)
"""The table of what is left out."""

FIELDS: Final = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "stream_options",
    "tool_choice",
    "tools",
    "top_p",
    "user",
)
"""Members of a chat that may be anything. `stream` is not among them: an answer in events is a matter of its own."""

_FRAMING: Final = frozenset({"connection", "content-encoding", "content-length", "expect", "host", "te", "upgrade"})
_HEADER_BYTES: Final = 300
_NAMES: Final = ("accept", "accept-language", "authorization", "cache-control", "cookie", "origin", "referer", "x-any")
_INTEGER: Final = 2**63
_STATE: Final = ("models", "shutdown", "openai")


def _strategies() -> Any:  # the module; importing it costs a tenth of a second
    return require("hypothesis.strategies", extra="contracts")


def texts(longest: int = 200) -> SearchStrategy[str]:
    """Text of every script, without halves of characters."""
    drawn: SearchStrategy[str] = _strategies().text(max_size=longest)
    return drawn


def documents(leaves: int = 12) -> SearchStrategy[Any]:
    """Any JSON value, far from as deep as would kill a server."""
    st = _strategies()
    whole = st.integers(-_INTEGER, _INTEGER - 1)
    single = st.none() | st.booleans() | whole | st.floats(allow_nan=False, allow_infinity=False) | texts(20)

    def nested(inner: Any) -> Any:
        return st.lists(inner, max_size=4) | st.dictionaries(texts(8), inner, max_size=4)

    drawn: SearchStrategy[Any] = st.recursive(single, nested, max_leaves=min(leaves, MAX_DEPTH))
    return drawn


def chats(model: str) -> SearchStrategy[dict[str, Any]]:
    """A chat in which some members are anything, and the others as they ought to be."""
    st = _strategies()
    proper = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    odd = st.dictionaries(st.sampled_from(FIELDS), documents(), max_size=4)
    left_out = st.sets(st.sampled_from(sorted(proper)), max_size=1)

    def made(changed: dict[str, Any], without: set[str]) -> dict[str, Any]:
        return {name: value for name, value in (proper | changed).items() if name not in without}

    drawn: SearchStrategy[dict[str, Any]] = st.builds(made, odd, left_out)
    return drawn


def bodies() -> SearchStrategy[bytes]:
    """Bytes: whatever there is, and JSON that was cut, spoiled or written in another encoding."""
    st = _strategies()
    written = documents().map(lambda value: json.dumps(value, ensure_ascii=False).encode())

    def cut(body: bytes, share: float) -> bytes:
        return body[: int(len(body) * share)]

    def spoiled(body: bytes, share: float, put: bytes) -> bytes:
        place = int(len(body) * share)
        return body[:place] + put + body[place + 1 :]

    share = st.floats(0, 1)
    drawn: SearchStrategy[bytes] = st.one_of(
        st.binary(max_size=300),
        st.builds(cut, written, share),
        st.builds(spoiled, written, share, st.binary(min_size=1, max_size=3)),
        documents().map(lambda value: json.dumps(value).encode("utf-16")),
    )
    return drawn


def unreadable() -> SearchStrategy[str]:
    """ASCII that is no JSON."""
    st = _strategies()
    cut = documents().map(json.dumps).map(lambda text: text[:-1])
    ascii_ = st.text(st.characters(max_codepoint=0x7F), max_size=60)
    drawn: SearchStrategy[str] = (cut | ascii_).filter(_is_no_json)
    return drawn


def unreadable_in_any_script() -> SearchStrategy[str]:
    """Text of every script that is no JSON."""
    return texts(60).filter(_is_no_json)


def paths() -> SearchStrategy[str]:
    """Paths of some segments, percent-encoded where they must be; none that ends the service or changes its models."""
    st = _strategies()
    known = st.sampled_from(["v1", "chat", "completions", "status", "responses", "embeddings", ".", "..", "%00", "a:1"])
    segment = known | texts(12).filter(bool).map(lambda text: quote(text, safe=""))
    drawn: SearchStrategy[str] = st.lists(segment, min_size=1, max_size=5).filter(_is_harmless).map(_joined)
    return drawn


def methods() -> SearchStrategy[str]:
    """Methods of HTTP, and some that are none. HEAD is left out: 2.x answers it with a body."""
    drawn: SearchStrategy[str] = _strategies().sampled_from(
        ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "NONSENSE"]
    )
    return drawn


def headers() -> SearchStrategy[dict[str, str]]:
    """Headers that frame nothing, together far shorter than the head that every server takes."""
    st = _strategies()
    own = st.from_regex(r"x-[a-z0-9-]{1,20}", fullmatch=True)
    name = (st.sampled_from(_NAMES) | own).filter(_frames_nothing)
    value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=_HEADER_BYTES).map(str.strip)
    drawn: SearchStrategy[dict[str, str]] = st.dictionaries(name, value, max_size=5)
    return drawn


def _joined(parts: list[str]) -> str:
    return "/" + "/".join(parts)


def _frames_nothing(name: str) -> bool:
    return name not in _FRAMING


def _is_no_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return True
    return False


def _is_harmless(parts: list[str]) -> bool:
    return not any(word in part.lower() for part in parts for word in _STATE) and any(part.strip(".") for part in parts)
