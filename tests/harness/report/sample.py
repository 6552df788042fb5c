"""Three runtimes and every verdict, with evidence of every kind, as the report is tested with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.harness import MAY, MUST, SHOULD, Answer, BrokenError, Level
from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.evidence import ABANDONED, COMPLETE, Chunk, Ended, Exchange, Request, Response
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict, Verification

ASKED = {"model": "resilience:1", "messages": [{"role": "user", "content": "What is resilience?"}]}
REFUSED = {"error": {"code": None, "message": "No such model", "type": "invalid_request_error"}}
HOSTILE = '<script>document.title = "owned"</script><img src=x onerror="document.title = 1">'


def promise(name: str, level: Level = MUST, words: str = "It is promised, and somebody relies on it.") -> Contract:
    """A contract of this name."""
    source = (
        f"@contract({level.value})\ndef {name.partition('.')[2]}(session):\n    session.get('/status').status(200)\n"
    )
    return Contract(name, level, words, lambda _: None, frozenset({"chat"}), SpecifierSet(), source)


def answered(
    status: int = 200,
    body: object = None,
    *,
    headers: Iterable[tuple[str, str]] = (),
    at: float = 0.004,
    path: str = "/v1/models",
) -> Exchange:
    """A question and one answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (("content-type", "application/json"), *headers)
    response = Response(status, head, at, (Chunk(at, raw),), {200: "OK", 404: "Not Found"}.get(status, "No"))
    request = Request("POST", path, (("accept", "*/*"),), json.dumps(ASKED).encode())
    return Exchange(request, response, Ended(COMPLETE, at), 1)


def event(**fields: object) -> bytes:
    """An event of a streamed chat."""
    return b"data: " + json.dumps({"id": "1", "object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def words(text: str, **more: object) -> bytes:
    """An event with content."""
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more)


def streamed(
    *pieces: bytes, how: str = COMPLETE, every: float = 0.01, headers: Iterable[tuple[str, str]] = (), says: str = ""
) -> Exchange:
    """A stream, a chunk each so many seconds, and then its end."""
    chunks = tuple(Chunk(0.05 + every * place, piece) for place, piece in enumerate(pieces))
    head = (("content-type", "text/event-stream"), *headers)
    request = Request("POST", "/v1/chat/completions", (), json.dumps(ASKED | {"stream": True}).encode())
    at = chunks[-1].at + every if chunks else 0.05
    return Exchange(request, Response(200, head, 0.02, chunks, "OK"), Ended(how, at, says), 1)


def whole(count: int = 6, **more: object) -> tuple[bytes, ...]:
    """A stream as it ought to be."""
    delta: dict[str, str] = {}
    finish = event(choices=[{"index": 0, "delta": delta, "finish_reason": "stop"}], **more)
    return (*(words(f"word {place} ", **more) for place in range(count)), finish, b"data: [DONE]\n\n")


def broken(name: str, exchanges: Sequence[Exchange], level: Level = MUST) -> Outcome:
    """A contract that asks for a 404 and an object that says so, and gets the last exchange."""
    try:
        Answer(exchanges[-1]).status(404, 400).has({"error": {"message": str}})
    except BrokenError as error:
        return Outcome(promise(name, level), Verdict.BROKEN, str(error), tuple(exchanges), error.exchange, seconds=0.01)
    raise AssertionError(f"{name} holds")


def deviates(name: str, reason: str, exchanges: Sequence[Exchange], link: str, level: Level = MUST) -> Outcome:
    """A contract that is known not to hold."""
    found = broken(name, exchanges, level)
    known = Deviation(contract=name, versions=SpecifierSet("<2"), reason=reason, link=link)
    both = f"{reason} ({found.reason})"
    return Outcome(found.contract, Verdict.DEVIATES, both, found.exchanges, found.culprit, known, seconds=0.01)


def held(name: str, *exchanges: Exchange, level: Level = MUST) -> Outcome:
    """A contract that holds."""
    return Outcome(promise(name, level), Verdict.HELD, "", exchanges, seconds=0.02)


def endless_words() -> Outcome:
    """Everything that a server or an author of contracts can write without a space."""
    word = "x" * 160
    asked = answered(200, {word: [word]}, headers=[("x-" + word, word)], path=f"/v1/{word}?{word}")
    stream = streamed(f"event: {word}\ndata: {word}\n\n".encode(), words(word), how=word, says=word)
    found = broken(f"errors.{word}", [stream, asked], MAY)
    known = Deviation(
        contract=found.contract.name, versions=SpecifierSet(), reason=word, link=f"https://{word}.invalid"
    )
    return replace(found, deviation=known, smallest=(word,))


def old() -> Verification:
    """1.2.4, with every kind of trouble."""
    link = "https://github.com/microsoft/Foundry-Local/issues/383"
    cut = streamed(*whole(4, usage={"total_tokens": 3})[:3], how="RemoteProtocolError", says="peer closed connection")
    return Verification(
        Runtime("foundry-local", "1.2.4", "foundry-local-1.2.4"),
        (
            deviates("errors.an_unknown_model", "An unknown model is answered with 500", [answered(500, b"")], link),
            broken("errors.a_wrong_path", [answered(404, REFUSED), answered(200, {"object": "list", "data": []})]),
            endless_words(),
            held("streams.end_with_done", streamed(*whole(usage={"total_tokens": 3}), b"")),
            held("streams.survive", cut, level=SHOULD),
            Outcome(promise("streams.fixed", SHOULD), Verdict.FIXED, "it holds, and the ledger says otherwise"),
            Outcome(promise("models.ttl", MAY), Verdict.OUTSIDE, "it is about versions <1"),
            Outcome(promise("models.load", MAY), Verdict.NOT_RECORDED, "there is no tape of it"),
        ),
        "tapes",
    )


def new(version: str = "2.2.1") -> Verification:
    """2.x, which is as it ought to be, and doubles a header."""
    doubled = [("content-type", "text/event-stream")]
    return Verification(
        Runtime("foundry-local", version, f"foundry-local-{version}"),
        (
            held("errors.an_unknown_model", answered(404, REFUSED)),
            held("errors.a_wrong_path", answered(404, REFUSED), answered(404, REFUSED)),
            held("streams.end_with_done", streamed(*whole(), headers=doubled)),
            held("streams.survive", streamed(*whole(40), how=ABANDONED), level=SHOULD),
            Outcome(promise("models.load", MAY), Verdict.NOT_EXERCISED, "it needs 'own', which is not here"),
        ),
        "tapes",
    )


def verifications() -> list[Verification]:
    """All three."""
    return [old(), new("2.0.1"), new()]
