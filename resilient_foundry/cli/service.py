"""The service that a command speaks to."""

from __future__ import annotations

from resilient_foundry.foundry import FoundryClient
from resilient_foundry.foundry.settings import url as base_url_of


def connect(url: str | None, *, model: str | None = None) -> FoundryClient:
    """A client of the service named by --url, or of the one that is found; `SettingsError` for what is no URL."""
    return FoundryClient(None if url is None else base_url_of("--url", url), model=model)
