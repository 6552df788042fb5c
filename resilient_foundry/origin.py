"""The origin of a URL: what circuits belong to, and what names and spans tell of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from resilient_foundry.flow import URL

DEFAULT_PORTS = {"http": 80, "https": 443}


_MOST_KNOWN = 32
_known: dict[object, str] = {}
"""A few origins, by the parts that httpx-shaped libraries keep of a parsed URL under a private name."""


def origin(url: URL | str) -> str:
    """Scheme, host and port (RFC 6454 section 4), the default port written out, lower case."""
    parsed: Any = getattr(url, "_uri_reference", None)  # without it the public parts are asked, which takes longer
    if parsed is None:
        return _origin(url)
    key = parsed.scheme, parsed.host, parsed.port
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[key] = _origin(url)
    return found


def _origin(url: URL | str) -> str:
    scheme, host, named = _parts(url) if isinstance(url, str) else (url.scheme, url.host, url.port)
    host = f"[{host}]" if ":" in host else host
    port = named or DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}".lower() + (f":{port}" if port else "")


def _parts(text: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(text)
        if parts.scheme and parts.hostname:
            return parts.scheme, parts.hostname, parts.port
    except ValueError:  # a port that is no number, a bracket that is not closed
        pass
    raise ValueError(f"a circuit belongs to an absolute URL such as 'http://127.0.0.1:5273', not to {text!r}")
