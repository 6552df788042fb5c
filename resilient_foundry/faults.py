"""What a failure means: whether anything was sent, whether it may be sent again, and whose fault it is.

The classes of an HTTP library are made known by `learn` when one of its transports is first wrapped, so this module
classifies the errors of libraries that it never imports.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from enum import Enum


class Fault(Enum):
    """How far a call got before it failed."""

    UNSENT = "unsent"
    """No byte of the request reached a server: it may be repeated whatever its method."""

    UNKNOWN = "unknown"
    """The request may have been acted on: it may be repeated only when repeating it does no harm."""

    OURS = "ours"
    """The failure lies on this side, or is no failure of a call at all: repeating it changes nothing."""


class Verdict(Enum):
    """What a complete answer says about the two sides."""

    GOOD = "good"
    """The server did what it was asked."""

    CALLER = "caller"
    """The server works and the request was wrong: not to be repeated, not to be held against the server."""

    BUSY = "busy"
    """The server refused before it acted: any method may be repeated."""

    SERVER = "server"
    """The server failed."""


Judge = Callable[[int, Mapping[str, str], bytes], Verdict]
"""Reads status, headers and the first kilobytes of the body of an answer; of a compressed body it is shown nothing."""

_BUSY = frozenset({425, 429, 503})
"""RFC 8470 section 5.2, RFC 6585 section 4, RFC 9110 section 15.6.4."""
_NOT_THE_SERVERS_HEALTH = frozenset({501, 505})


def judge_by_status(status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
    """The verdict that the status code alone allows (RFC 9110 section 15)."""
    del headers, body
    if status in _BUSY:
        return Verdict.BUSY
    if status == 408 or (status >= 500 and status not in _NOT_THE_SERVERS_HEALTH):  # noqa: PLR2004 - RFC 9110
        return Verdict.SERVER
    return Verdict.CALLER if status >= 400 else Verdict.GOOD  # noqa: PLR2004 - RFC 9110


def legible(headers: Mapping[str, str], body: bytes) -> bytes:
    """What a judge is shown of a body: all of it as it is, or nothing where it is compressed."""
    return body if not body or headers.get("content-encoding", "identity") in {"", "identity"} else b""


_FAULTS_BY_NAME = {
    "ConnectError": Fault.UNSENT,
    "ConnectTimeout": Fault.UNSENT,
    "PoolTimeout": Fault.UNSENT,
    "ReadTimeout": Fault.UNKNOWN,
    "WriteTimeout": Fault.UNKNOWN,
    "NetworkError": Fault.UNKNOWN,
    "ProxyError": Fault.UNKNOWN,
    "RemoteProtocolError": Fault.UNKNOWN,
}

_known: dict[type[BaseException], Fault] = {}


def learn(errors: Mapping[str, object]) -> None:
    """Make the error classes of an httpx-shaped library known, by their names in its public namespace."""
    for name, fault in _FAULTS_BY_NAME.items():
        error = errors.get(name)
        if isinstance(error, type) and issubclass(error, BaseException):
            _known[error] = fault


def fault_of(error: BaseException) -> Fault:
    """How far the call got that ended with this error. What is not known to be a failed call is `Fault.OURS`."""
    for kind in type(error).__mro__:
        fault = _known.get(kind)
        if fault is Fault.UNSENT:
            return Fault.OURS if _distrusts_the_certificate(error) else fault
        if fault is not None:
            return Fault.UNSENT if _was_not_looked_at(error) else fault
    return Fault.OURS


def fault_named(name: str | None) -> Fault:
    """How far a call got of whose error only the name of the class is known."""
    return _FAULTS_BY_NAME.get(name or "", Fault.OURS)


_REFUSED_STREAM = 7
"""RFC 9113 section 7."""


def _was_not_looked_at(error: BaseException) -> bool:
    """Whether an HTTP/2 server says that it did nothing with the request (RFC 9113 sections 6.8 and 8.7).

    httpcore hands on h2's own event: a stream that was refused, a goodbye that names no stream. Requests behind a
    goodbye that names an earlier stream it sends again by itself.
    """
    for event in getattr(error.__cause__, "args", ()):
        if getattr(event, "last_stream_id", None) == 0:
            return True
        if hasattr(event, "stream_id") and getattr(event, "error_code", None) == _REFUSED_STREAM:
            return True
    return False


def _distrusts_the_certificate(error: BaseException) -> bool:
    """A certificate that is refused now is refused again; httpx reports it as a connect error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
