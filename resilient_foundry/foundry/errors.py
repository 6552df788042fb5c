"""What a Foundry Local server said, or would have said: one class a meaning.

These are never errors of the transport: a connection that fails raises the HTTP library's own error, and what a policy
refuses raises a `ResilienceError`. The one meeting point is `StreamInterruptedError`, whose `__cause__` is the
transport's error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resilient_foundry.events import Ledger

MAX_BODY = 64 * 1024
"""Bytes of an answer that an error keeps."""


class FoundryError(Exception):
    """Something the server said, in one sentence; the facts are attributes.

    `status` is the HTTP status (None inside a stream, and for what was refused before it was sent), `code` the
    server's own code, `message` the sentence, `body` the raw answer (its first 64 KiB), `delivered` the text of a
    stream that had arrived before it failed, `resilience` the ledger of the attempts.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        body: bytes = b"",
        delivered: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.body = body[:MAX_BODY]
        self.delivered = delivered
        self.resilience: Ledger | None = None


class ServiceNotFoundError(FoundryError):
    """No Foundry Local service was found, and nobody said where it is."""


class NotFoundryError(FoundryError):
    """Something answered, and it is no Foundry Local."""


class EndpointNotFoundError(FoundryError):
    """The server has no such endpoint: another generation, or a path in the URL that does not belong there."""


class ModelNotFoundError(FoundryError):
    """The server knows no model of this name."""


class ModelNotLoadedError(FoundryError):
    """The model is not in memory: call `load_model` first."""


class ModelNotCachedError(FoundryError):
    """The model is not on the disk of the server: download it first."""


class ModelBusyError(FoundryError):
    """The model is answering somebody and can't be unloaded now."""


class InvalidRequestError(FoundryError):
    """The request is wrong, and stays wrong when it is repeated."""


class ContextLengthExceededError(InvalidRequestError):
    """Prompt and answer together need more tokens (`needed`) than the model has room for (`limit`)."""

    def __init__(
        self,
        message: str,
        *,
        needed: int | None = None,
        limit: int | None = None,
        status: int | None = None,
        code: str | None = None,
        body: bytes = b"",
        delivered: str = "",
    ) -> None:
        super().__init__(message, status=status, code=code, body=body, delivered=delivered)
        self.needed = needed
        self.limit = limit


class UnsupportedError(FoundryError):
    """This generation of the server would ignore or mistake what was asked for, so it was not sent."""


class ServiceBusyError(FoundryError):
    """The server refused for now (429, 503), and did nothing."""


class ServiceFailedError(FoundryError):
    """The server failed."""


class LoadFailedError(ServiceFailedError):
    """The server tried to load the model and could not."""


class InferenceError(ServiceFailedError):
    """The server failed while it computed an answer."""


class ProtocolError(FoundryError):
    """The server's answer can't be read; `body` is what it said."""


class StreamInterruptedError(FoundryError):
    """A stream ended before its answer was whole.

    `delivered` is the text and `chunks` the number of chunks handed over before, `reason` why it ended. Nothing was
    asked again behind your back: what to do with half an answer is yours to decide.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        chunks: int = 0,
        status: int | None = None,
        code: str | None = None,
        body: bytes = b"",
        delivered: str = "",
    ) -> None:
        super().__init__(message, status=status, code=code, body=body, delivered=delivered)
        self.reason = reason
        self.chunks = chunks


class SettingsError(ValueError):
    """An argument or an environment variable has a value that it does not accept; `name` says which."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name
