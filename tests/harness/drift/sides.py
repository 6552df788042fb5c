"""Servers made by hand: what one contract saw of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from resilient_foundry.harness.contract import MUST, Contract, Level
from resilient_foundry.harness.drift import Drift, Finding, compare
from resilient_foundry.harness.evidence import Chunk, Ended, Exchange, Headers, Request, Response
from resilient_foundry.harness.session import Session
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict, Verification

CHAT = Request("POST", "/v1/chat/completions", body=b'{"model":"m"}')
JSON: Headers = (("content-type", "application/json"),)
EVENTS: Headers = (("content-type", "text/event-stream"),)
CUT = Ended("RemoteProtocolError", 1.0, "peer closed connection")


def answered(
    *bodies: object, status: int = 200, headers: Headers = JSON, ended: Ended | None = None, request: Request = CHAT
) -> list[Exchange]:
    """An exchange for each body: bytes as they are, anything else as JSON."""
    return [
        Exchange(
            request,
            Response(
                status, headers, 0.1, tuple(_chunks(body if isinstance(body, bytes) else json.dumps(body).encode()))
            ),
            ended or Ended(at=1.0),
        )
        for body in bodies
    ]


def streamed(
    *events: object, done: bool = True, ended: Ended | None = None, headers: Headers = EVENTS
) -> list[Exchange]:
    """A stream of these events, a chunk each, and the end marker."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in events] + ["[DONE]"] * done
    chunks = [Chunk(0.1 * place, f"data: {text}\n\n".encode()) for place, text in enumerate(texts, start=1)]
    return [Exchange(CHAT, Response(200, headers, 0.1, tuple(chunks)), ended or Ended(at=2.0))]


def content(text: str = "hi", **more: object) -> dict[str, object]:
    """An event that brings text."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}], **more}


def finish(reason: str = "stop") -> dict[str, object]:
    """The event that says why it ended."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def side(
    exchanges: Iterable[Exchange], *, verdict: Verdict = Verdict.HELD, level: Level = MUST, version: str = "1"
) -> Verification:
    """What a contract saw, and how it stands."""
    contract = Contract("chat.answers", level, "It answers.\n\nMore words.", _never)
    return Verification(Runtime("server", version), (Outcome(contract, verdict, exchanges=tuple(exchanges)),), "tapes")


def drifted(before: Sequence[Exchange], after: Sequence[Exchange]) -> Drift:
    """From the one to the other."""
    return compare(side(before), side(after, version="2"))


def said(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """How bad, and the sentence."""
    return [(each.grade.name.lower(), each.says) for each in findings]


def _chunks(body: bytes) -> list[Chunk]:
    return [Chunk(0.2, body)] if body else []


def _never(session: Session) -> None:
    raise AssertionError(session)
