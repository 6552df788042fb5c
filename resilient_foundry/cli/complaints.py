"""What went wrong, in one sentence for somebody at a terminal."""

from __future__ import annotations

import httpx

from resilient_foundry.foundry.runtime import RuntimeStartError

_IN_COMMANDS = (
    ("or start_web_service() of foundry-local-sdk", "or `resilient-foundry serve`"),
    ("or pass base_url=", "or name its URL with --url"),
    ("call load_model first", "load it with `resilient-foundry models load`"),
    ("call load_model", "load one with `resilient-foundry models load`"),
    (", or api_key=", ""),
)
"""What the library advises a programmer to write, and what to type instead. Other advice is passed on as it is."""


def sentence(error: BaseException) -> str:
    """What an error says, with what was noted on it on the way, in one line."""
    said = str(error) or type(error).__name__
    notes: list[str] = list(getattr(error, "__notes__", []))
    if isinstance(error, httpx.ConnectError) and notes:
        said, notes = notes[-1], [said, *notes[:-1]]  # what it means here, before how the system calls it
        return in_commands(f"{said} ({'; '.join(notes)})")
    if isinstance(error, RuntimeStartError) and error.log:
        notes = ["FOUNDRY_LOG_LEVEL=DEBUG shows the last lines that it wrote"]
    if isinstance(error, httpx.RequestError):
        said = f"{_where(error)}: {said}"
    return in_commands("; ".join([said, *notes]))


def in_commands(text: str) -> str:
    """The text in one line, with advice for the command line."""
    for written, typed in _IN_COMMANDS:
        text = text.replace(written, typed)
    return " ".join(text.split())


def _where(error: httpx.RequestError) -> str:
    """The HTTP libraries do not say with whom they spoke."""
    try:
        request = error.request
    except RuntimeError:
        return "no answer"
    return f"no answer to {request.method} {request.url.copy_with(query=None, userinfo=b'')}"
