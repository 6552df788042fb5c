"""What contracts are asked of in tests: a server of the test, with parts to play that the test names."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import httpx
from packaging.specifiers import SpecifierSet

from resilient_foundry.foundry.deviations import Deviation
from resilient_foundry.foundry.runtime import ServedModel
from resilient_foundry.harness import MUST, Level, Session
from resilient_foundry.harness.contract import Contract
from resilient_foundry.harness.evidence import Chunk, Ended, Exchange, Headers, Request, Response
from resilient_foundry.harness.subject import Opened
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict, Verification
from tests.servers import Conversation, Handler

JSON = {"content-type": "application/json"}
SENT = (
    ("accept", "*/*"),
    ("connection", "keep-alive"),
    ("content-length", "13"),
    ("content-type", "application/json"),
    ("user-agent", "resilient-foundry"),
)
"""The head of a request for a chat, as a session sends it."""
STATUS = {"endpoints": ["http://127.0.0.1:1"], "modelCachePath": "/models", "pid": 1}
"""What 2.x says of itself."""
RUNTIME = Runtime("foundry-local", "2.2.1")
CHAT = {"chat": ServedModel("resilience", "resilience:1")}


@dataclass
class Asked:
    """A subject that is a server of the test."""

    url: str
    runtime: Runtime = RUNTIME
    offers: frozenset[str] = frozenset(CHAT)
    models: Mapping[str, ServedModel] = field(default_factory=lambda: CHAT)
    way: str = "live"

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        """A connection of its own for each contract."""
        del contract
        with httpx.HTTPTransport() as transport:
            yield Opened(transport, self.url, time.monotonic, self.models)


def pages(**answers: object) -> Handler:
    """A server that answers GET /a/b with the JSON given as `a_b`, and 404 to everything else."""

    def handler(talk: Conversation) -> None:
        name = talk.asked.path.partition("?")[0].strip("/").replace("/", "_")
        if name in answers:
            talk.reply(200, json.dumps(answers[name]).encode(), JSON)
        else:
            talk.reply(404)

    return handler


def promise(
    check: Callable[[Session], object] = lambda _: None,
    *,
    name: str = "area.holds",
    level: Level = MUST,
    needs: frozenset[str] = frozenset(),
) -> Contract:
    """A contract that checks this."""
    return Contract(name, level, "It is promised.", cast("Callable[[Session], None]", check), needs)


def deviation(contract: str = "area.holds", versions: str = ">=2") -> Deviation:
    """A line of the ledger."""
    return Deviation(
        contract=contract, versions=SpecifierSet(versions), reason="It does not.", link="https://example.org/1"
    )


def exchange(
    body: bytes = b'{"a":1}',
    status: int = 200,
    media: str = "application/json",
    sent: Headers = (("content-type", "application/json"),),
) -> Exchange:
    """One that ended well."""
    return Exchange(
        Request("POST", "/v1/chat/completions", sent, b'{"model":"m"}'),
        Response(status, (("content-type", media),), 0.01, (Chunk(0.02, body),), "OK"),
        Ended(at=0.03),
        1,
    )


def outcome(
    verdict: Verdict = Verdict.HELD, *, name: str = "area.holds", level: Level = MUST, why: str = ""
) -> Outcome:
    """One, with an exchange for evidence."""
    seen = exchange()
    return Outcome(
        promise(name=name, level=level),
        verdict,
        why,
        (seen,),
        seen if verdict is Verdict.BROKEN else None,
        deviation(name) if verdict in {Verdict.DEVIATES, Verdict.FIXED} else None,
        0.03,
    )


def verification(*outcomes: Outcome) -> Verification:
    """Of 2.2.1, live."""
    return Verification(RUNTIME, outcomes, "live")
