"""The report for programs: JSON that holds everything, evidence too. docs/contracts.md says what its members mean."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from resilient_foundry.harness.evidence import Exchange, Response
from resilient_foundry.harness.verdict import Outcome, Verdict, Verification

FORMAT: Final = "resilient-foundry/contracts"
VERSION: Final = 1
"""Rises when a member changes its meaning or goes; members may be added without."""

JSON = dict[str, Any]


def written(verifications: Sequence[Verification]) -> str:
    """The report as text."""
    return json.dumps(document(verifications), indent=2, ensure_ascii=False) + "\n"


def document(verifications: Sequence[Verification]) -> JSON:
    """The report as a value that JSON can hold."""
    return {"format": FORMAT, "version": VERSION, "verifications": [_verification(each) for each in verifications]}


def _verification(verification: Verification) -> JSON:
    runtime = verification.runtime
    return {
        "runtime": {"product": runtime.product, "version": runtime.version, "where": runtime.where},
        "way": verification.way,
        "holds": not verification.failures,
        "counts": {verdict.value: len(verification.of(verdict)) for verdict in Verdict},
        "outcomes": [_outcome(each) for each in verification.outcomes],
    }


def _outcome(outcome: Outcome) -> JSON:
    contract, deviation = outcome.contract, outcome.deviation
    return {
        "contract": contract.name,
        "level": contract.level.value,
        "promise": contract.promise,
        "needs": sorted(contract.needs),
        "versions": str(contract.versions),
        "verdict": outcome.verdict.value,
        "failure": outcome.is_failure,
        "reason": outcome.reason,
        "deviation": deviation
        and {"versions": str(deviation.versions), "reason": deviation.reason, "link": deviation.link},
        "seconds": round(outcome.seconds, 6),
        "examples": outcome.examples,
        "smallest": list(outcome.smallest),
        "culprit": _place(outcome),
        "exchanges": [_exchange(each) for each in outcome.exchanges],
    }


def _place(outcome: Outcome) -> int | None:
    """Which of the exchanges broke it, where it was one. It may have gone on after the contract looked at it."""
    culprit = outcome.culprit
    if culprit in outcome.exchanges:
        return outcome.exchanges.index(culprit)
    asked = [n for n, each in enumerate(outcome.exchanges) if culprit and each.request == culprit.request]
    return asked[-1] if asked else None


def _exchange(exchange: Exchange) -> JSON:
    request, ended = exchange.request, exchange.ended
    return {
        "request": {
            "method": request.method,
            "path": request.path,
            "headers": [list(each) for each in request.headers],
            "body": _data(request.body),
        },
        "response": exchange.response and _response(exchange.response),
        "ended": {"how": ended.how, "at": round(ended.at, 6), "says": ended.says},
        "connection": exchange.connection,
    }


def _response(response: Response) -> JSON:
    return {
        "status": response.status,
        "reason": response.reason,
        "http_version": response.http_version,
        "headers": [list(each) for each in response.headers],
        "at": round(response.at, 6),
        "chunks": [{"at": round(chunk.at, 6), "data": _data(chunk.data)} for chunk in response.chunks],
    }


def _data(data: bytes) -> str | JSON:
    """Bytes as text; where they are none, as an object that holds them in base64."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}
