"""`resilient-foundry chat`: one question, its answer streamed to the terminal."""

from __future__ import annotations

import sys
from typing import Any

from resilient_foundry.cli.output import errors, plain, print_json, say
from resilient_foundry.cli.service import connect
from resilient_foundry.cli.telemetry import link_to, traced
from resilient_foundry.events import Attempt
from resilient_foundry.foundry import ChatResult, ChatStream, FoundryClient, SettingsError


def run(
    prompt: str,
    *,
    model: str | None,
    url: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    explain: bool,
    as_json: bool,
    otlp: str | None = None,
) -> None:
    """Ask and print."""
    parameters: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}  # as ChatParameters
    with traced(otlp) as telemetry, connect(url, model=model) as foundry:
        asked = sys.stdin.read() if prompt == "-" else prompt
        chosen = foundry.model or _the_one_loaded(foundry)
        with foundry.stream_complete(asked, model=chosen, system=system, **parameters) as stream:
            result = _read(stream) if as_json else _type(stream)
        traces = telemetry.trace_ids[-1:] if telemetry is not None else []
        where = {"trace_id": traces[0], "trace_url": link_to(telemetry, traces[0])} if telemetry and traces else {}
    if as_json:
        print_json(plain(result) | {"attempts": _attempts(result)} | where)
    elif explain and result.resilience is not None:
        say(result.resilience.explain(), to=errors)


def _read(stream: ChatStream) -> ChatResult:
    for _ in stream:
        pass
    return stream.result()


def _type(stream: ChatStream) -> ChatResult:
    """Write the answer as it comes, and end its last line whatever happens."""
    written = ""
    try:
        for chunk in stream:
            written = chunk.content or written
            sys.stdout.write(chunk.content)
            sys.stdout.flush()
    finally:
        if written and not written.endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
    return stream.result()


def _attempts(result: ChatResult) -> list[Any]:
    attempts: list[Attempt] = list(result.resilience.attempts) if result.resilience else []
    return [plain(attempt) for attempt in attempts]


def _the_one_loaded(foundry: FoundryClient) -> str:
    """The model that is meant when nobody names one."""
    loaded = foundry.loaded_models()
    if len(loaded) == 1:
        return loaded[0]
    if loaded:
        names = ", ".join(loaded)
        raise SettingsError(f"say which model, with --model or FOUNDRY_MODEL; loaded are {names}", name="model")
    raise SettingsError(
        "no model is loaded: load one with `resilient-foundry models load MODEL`; "
        "`resilient-foundry models list` shows what there is",
        name="model",
    )
