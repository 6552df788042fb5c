"""`resilient-foundry chat`: one question, its answer streamed to the terminal."""

from __future__ import annotations

import sys
from typing import Any

from resilient_foundry.cli.output import errors, plain, print_json
from resilient_foundry.foundry import FoundryClient, SettingsError


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
) -> None:
    """Ask and print."""
    asked = sys.stdin.read() if prompt == "-" else prompt
    settings: dict[str, Any] = {
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }  # as complete takes
    with FoundryClient(url) as foundry:
        chosen = model or foundry.model or _the_one_loaded(foundry)
        with foundry.stream_complete(asked, model=chosen, **settings) as stream:
            for chunk in stream:
                if not as_json:
                    sys.stdout.write(chunk.content)
                    sys.stdout.flush()
            result = stream.result()
    if as_json:
        attempts = result.resilience.attempts if result.resilience else []
        print_json(
            {**plain(result), "attempts": [plain(attempt) | {"outcome": _word(attempt)} for attempt in attempts]}
        )
        return
    sys.stdout.write("\n")
    if explain and result.resilience is not None:
        errors.print(result.resilience.explain(), markup=False)


def _word(attempt: Any) -> str | None:
    return attempt.outcome.value if attempt.outcome else None


def _the_one_loaded(foundry: FoundryClient) -> str:
    """The model that is meant when nobody names one."""
    loaded = foundry.loaded_models()
    if len(loaded) == 1:
        return loaded[0]
    if loaded:
        names = ", ".join(loaded)
        raise SettingsError(f"say which model, with --model or FOUNDRY_MODEL; loaded are {names}", name="model")
    raise SettingsError(
        "no model is loaded: load one with `resilient-foundry models load MODEL`; `models list` shows what there is",
        name="model",
    )
