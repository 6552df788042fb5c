"""`resilient-foundry tune`: measure a server of one's own, and say which pool, limit and timeouts suit it.

Exit codes: 0 a recommendation was proved; 3 it was measured, and there is no clear winner; 1 it could not be measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.table import Table

from resilient_foundry.cli.output import console, errors, print_json, say
from resilient_foundry.foundry.settings import API_KEY
from resilient_foundry.foundry.settings import url as base_url_of
from resilient_foundry.tuning import address
from resilient_foundry.tuning import tune as tuning
from resilient_foundry.tuning.advice import MOST, program
from resilient_foundry.tuning.calls import BadStatusError, Service, TooManyErrorsError
from resilient_foundry.tuning.tune import RECOMMENDED, Limits, Tuning

PROVED, UNMEASURED, NO_WINNER = 0, 1, 3
"""Exit codes."""
MOST_REQUESTS = 1_000_000
MOST_SECONDS = 3600.0
MOST_CALLERS = 512
_CHAT = "/v1/chat/completions"
_BODIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of the command."""

    url: str
    allowed: Limits
    path: str | None = None
    method: str | None = None
    body: str | None = None
    model: str | None = None
    library: str = "httpx"
    headers: Sequence[str] = ()
    header_from: Sequence[str] = ()
    load_this_server: bool = False
    out: Path | None = None
    as_json: bool = False


def run(asked: Asked) -> int:
    """Measure, prove and tell; the exit code."""
    service = service_of(asked)
    allowed = replace(asked.allowed, is_model=asked.model is not None)
    with errors.status(f"tune {service.url}") as status:
        try:
            found = tuning.run(service, allowed, progress=status.update)
        except BadStatusError as error:
            what = f"{service.method} {_shown(service.path)}"
            raise ValueError(f"{service.url} answers {what} with status {error.args[0]}; name another --path") from None
        except TooManyErrorsError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            if type(error).__module__.startswith(("httpx", "httpcore")) and not isinstance(error, httpx.HTTPError):
                raise OSError(f"{service.url} does not answer: {error or type(error).__name__}") from None
            raise
    text = _program(found, service)
    document = _document(found, service, text)
    if asked.out is not None:
        asked.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if asked.as_json:
        print_json(document)
    else:
        _show(found, service, text)
    return PROVED if found.advice is not None else NO_WINNER


def service_of(asked: Asked) -> Service:
    """What is to be asked; raises ValueError for what can't be, and `NotYoursError` for whose it is not."""
    if asked.library not in MOST:
        raise ValueError(f"--library is {asked.library!r}; it takes {' or '.join(MOST)}")
    url = base_url_of("URL", asked.url)
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if asked.model is not None and asked.body is not None:
        raise ValueError("--model asks for a chat of one token; --body asks for something else: name one of them")
    path = asked.path if asked.path is not None else parts.path or "/"
    content = _json(asked.body)
    headers = _headers(asked)
    if asked.model is not None:
        path = asked.path if asked.path is not None else _CHAT
        content = {"model": asked.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        if (key := os.environ.get(API_KEY, "").strip()) and not any(
            name.lower() == "authorization" for name in headers
        ):
            headers["Authorization"] = f"Bearer {key}"
    if not path.startswith("/"):
        raise ValueError(f"--path is {_shown(path)!r}; it begins with a slash")
    method = (asked.method or ("GET" if content is None else "POST")).upper()
    if not method.isalpha():
        raise ValueError(f"--method is {method!r}; it is a word such as GET or POST")
    ip = address.find(url, allow_any=asked.load_this_server).ip
    return Service(url=origin, ip=ip, path=path, method=method, headers=headers, content=content, library=asked.library)


def _json(body: str | None) -> Any:
    if body is None:
        return None
    if len(body) > _BODIES:
        raise ValueError(f"--body has {len(body)} characters; a request that is sent so often has at most {_BODIES}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise ValueError(f"--body is no JSON: {error}") from None


def _headers(asked: Asked) -> dict[str, str]:
    """Names and values; what is wrong is said without the value."""
    headers: dict[str, str] = {}
    for each in asked.headers:
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise ValueError("a --header is written 'NAME: VALUE'; one of them has no colon")
        headers[name.strip()] = value.strip()
    for each in asked.header_from:
        name, _, variable = each.partition("=")
        if not name or variable not in os.environ:
            raise ValueError(f"--header-from is {each!r}; it takes NAME=VARIABLE, of a variable that is set")
        headers[name] = os.environ[variable]
    for name, value in headers.items():
        if not (name + value).isprintable() or not name.isascii() or " " in name:
            raise ValueError(f"the header {name!a} can't be sent: its name or value holds what no header may")
    return headers


def _program(found: Tuning, service: Service) -> str | None:
    if found.advice is None:
        return None
    return program(
        found.advice,
        url=service.url,
        path=service.path,
        method=service.method,
        content=service.content,
        library=service.library,
    )


def _document(found: Tuning, service: Service, text: str | None) -> dict[str, Any]:
    """What was measured, for programs; nothing of headers and bodies."""
    scaling = found.scaling
    return {
        "url": service.url,
        "path": _shown(service.path),
        "method": service.method,
        "library": f"{service.library} {metadata.version(service.library)}",
        "recommended": None if found.advice is None else asdict(found.advice),
        "objections": list(found.objections),
        "cautions": list(found.cautions),
        "python": text,
        "steps": [
            {
                "limit": step.limit,
                "rate": step.rate,
                "share": asdict(found.knee.shares[step.limit]),
                "p50": step.took(0.5),
                "p95": step.took(0.95),
                "p99": step.took(0.99),
            }
            for step in found.steps
        ],
        "scaling": None if scaling is None else asdict(scaling),
        "little": found.little,
        "idle": asdict(found.idle),
        "contenders": [{**asdict(each), "rate": each.rate, "reuse": each.reuse} for each in found.contenders],
        "requests": found.requests,
        "seconds": found.seconds,
    }


def _show(found: Tuning, service: Service, text: str | None) -> None:
    console.print(_steps(found), soft_wrap=not console.is_terminal)
    console.print(_contenders(found), soft_wrap=not console.is_terminal)
    console.print()
    say(sentence(found), style="bold")
    for each in found.objections:
        say(f"- {each}")
    for each in found.cautions:
        say(f"note: {each}")
    say(
        f"measured: {found.requests} requests in {found.seconds:.0f} s, {service.method} {_shown(service.path)} of "
        f"{service.url} with {service.library}"
    )
    if text is not None:
        console.print()
        say(text.rstrip("\n"))


def sentence(found: Tuning) -> str:
    """What came of it, with how sure it is."""
    mine = next(each for each in found.contenders if each.name == RECOMMENDED)
    advice = found.advice
    if advice is None:
        return "no clear winner: nothing is recommended, because"
    share = found.knee.shares[advice.limit]
    sure = f"{share.median:.0%} of the best throughput, and with 95 % certainty at least {share.low:.0%}"
    if advice.limit == found.knee.best:
        sure = "no limit that was tried has more throughput"
    closed = found.idle.closed_after
    kept = "the server was not seen to close one" if closed is None else f"the server closes them after {closed:.3g} s"
    return (
        f"{advice.limit} at once, and {advice.limit} connections, each kept unused for {advice.keepalive_expiry:g} s "
        f"({kept}): {mine.rate:.4g} answers a second, p99 {mine.open_p99.median * 1000:.3g} ms at 80 % of that, "
        f"{mine.reuse:.1%} over connections that were open; {sure}."
    )


def _steps(found: Tuning) -> Table:
    table = Table(title="calls at once", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("limit", "a second", "of the best", "95 % interval", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for step in found.steps:
        share = found.knee.shares[step.limit]
        table.add_row(
            str(step.limit),
            f"{step.rate:.4g}",
            f"{share.median:.0%}",
            f"{share.low:.0%} to {share.high:.0%}",
            *(f"{step.took(each) * 1000:.3g}" for each in (0.5, 0.95, 0.99)),
            style="bold" if step.limit == found.knee.limit else None,
        )
    return table


def _contenders(found: Tuning) -> Table:
    table = Table(title="in turns", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in ("a second", "p50 ms", "p99 ms", "p99 at 80 %", "reuse", "errors"):
        table.add_column(name, justify="right")
    for each in found.contenders:
        name = "tried" if each.name == RECOMMENDED and found.advice is None else each.name
        table.add_row(
            name,
            f"{each.rate:.4g}",
            *(f"{took * 1000:.3g}" for took in (each.p50, each.p99.median, each.open_p99.median)),
            f"{each.reuse:.3f}",
            str(sum(each.errors.values())),
        )
    return table


def _shown(path: str) -> str:
    """A path without its query, which may hold a key."""
    return path.partition("?")[0]
