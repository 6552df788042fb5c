"""A target of a fallback: another origin, another model or both, and how a request is aimed at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

from resilient_foundry.call import CIRCUIT, derive, lies_in_memory
from resilient_foundry.flow import Request
from resilient_foundry.origin import origin
from resilient_foundry.policies._checks import switch, text

_CREDENTIALS = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "x-auth-token",
        "x-amz-security-token",
        "ocp-apim-subscription-key",
    }
)
"""What a client drops when a redirect leads to another origin, and where the APIs of models look for a key."""
_OF_THE_BODY = frozenset({"idempotency-key", "content-digest", "repr-digest", "digest", "content-md5"})
"""They stand for the body that was sent with them (RFC 9530)."""


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Another origin to ask, another model to ask for, or both.

    `url` is an origin such as `https://models.example`, whose path, if it has one, goes before that of the request.
    `model` replaces the name in a JSON body; a request whose body does not lie in memory, or names no model, is not
    brought to this target.

    Keys, cookies and passwords of the request (`Authorization`, `Cookie`, `Proxy-Authorization`, `Api-Key`,
    `X-Api-Key`, `X-Goog-Api-Key`, `X-Auth-Token`, `X-Amz-Security-Token`, `Ocp-Apim-Subscription-Key`) stay with the
    origin they were meant for, unless this one is `trusted`. `headers` are put on what is sent to it, and may hold its
    own key; they are never printed. What a URL says in its query travels, and so does a key in any other header.
    """

    url: str | None = None
    model: str | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], kw_only=True, hash=False)
    trusted: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.url is None and self.model is None:
            raise ValueError("Target has a url, a model or both, not neither")
        if self.url is not None:
            _check_url(self.url)
        text("Target.model", self.model)
        if not (_is_a(self.headers, Mapping) and all(map(_is_text, [*self.headers, *self.headers.values()]))):
            raise TypeError("Target.headers maps names to values, both of them text")
        switch("Target.trusted", self.trusted)

    def __str__(self) -> str:
        if self.url is None:
            return f"model {self.model}"
        return self.url if self.model is None else f"{self.url}, model {self.model}"

    def __repr__(self) -> str:
        said = [repr(self.url)] if self.url is not None else []
        said += [f"model={self.model!r}"] if self.model is not None else []
        said += ["trusted=True"] if self.trusted else []
        return f"Target({', '.join(said)})"


def aimed_at(target: Target, request: Request) -> Request | None:
    """The request as this target is asked; None where it can't be, and itself where that is what was asked already."""
    url, elsewhere = request.url, False
    if target.url is not None:
        parts = urlsplit(target.url)
        url = request.url.copy_with(
            scheme=parts.scheme,
            userinfo=b"",
            host=parts.hostname,
            port=parts.port,
            raw_path=parts.path.rstrip("/").encode("ascii") + request.url.raw_path,
        )
        elsewhere = origin(url) != origin(request.url)
    content, without, extensions = None, set[str](), dict[str, Any]()
    if target.model is not None:
        named, content = _asking_for(target.model, request)
        if not named:
            return None
        if content is not None:
            extensions[CIRCUIT] = target.model
            without |= _OF_THE_BODY
    if content is None and not elsewhere and not target.headers and url.raw_path == request.url.raw_path:
        return request
    if elsewhere and not target.trusted:
        without |= _CREDENTIALS
    fresh = derive(
        request,
        url=None if target.url is None else url,
        headers=target.headers,
        without=without,
        content=content,
        extensions=extensions,
    )
    if elsewhere:
        fresh.extensions.pop("sni_hostname", None)  # the name that the other origin's certificate is to bear
    return fresh


def _asking_for(model: str, request: Request) -> tuple[bool, bytes | None]:
    """Whether the request names a model, in JSON that lies in memory; and its body with this one, if that's another."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or kind.endswith("+json")) or not lies_in_memory(request):
        return False, None
    try:
        said: Any = json.loads(cast("Any", request).content)  # foreign JSON
        body = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        named = body.get("model")
        if not isinstance(named, str) or named == model:
            return isinstance(named, str), None
        return True, json.dumps({**body, "model": model}, allow_nan=False).encode()
    except (ValueError, RecursionError):  # no JSON, or none that can be written again as it was
        return False, None


def _check_url(url: str) -> None:
    said = "not the one given, which is not shown" if "@" in str(url) else f"not {url!r}"
    parts = _parts(url)
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "Target.url is an absolute URL such as 'http://127.0.0.1:5274' or 'https://models.example/v2', without "
            f"user, query and fragment (what it must be told can stand in headers), {said}"
        )


def _parts(url: object) -> SplitResult | None:
    try:
        legible = isinstance(url, str) and url.isascii() and url.isprintable() and " " not in url
        parts = urlsplit(url) if isinstance(url, str) and legible else None
        if parts is not None and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port that is no number, a bracket that is not closed
        pass
    return None


def _is_text(value: object) -> bool:
    return _is_a(value, str)


def _is_a(value: object, kind: type) -> bool:
    """What the annotations promise, for callers without a type checker."""
    return isinstance(value, kind)
