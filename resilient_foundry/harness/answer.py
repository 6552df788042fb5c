"""An answer in a contract: what may be checked of it, and the error that says what was found instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from resilient_foundry.foundry.wire import shape as shape_of_body
from resilient_foundry.harness.evidence import COMPLETE, Exchange, Response
from resilient_foundry.harness.grammar import Grammar
from resilient_foundry.harness.shapes import Shape, differences, shown
from resilient_foundry.sse import Decoder, Event

_SHOWN_DIFFERENCES = 3


class BrokenError(AssertionError):
    """A contract is broken; the message says what was found instead. `exchange` is the evidence, where there is one."""

    def __init__(self, message: str, exchange: Exchange | None = None) -> None:
        super().__init__(message)
        self.exchange = exchange


def expect(condition: object, message: str, exchange: Exchange | None = None) -> None:
    """Break the contract with this message unless the condition holds."""
    if not condition:
        raise BrokenError(message, exchange)


class Answer:
    """What came back. Every check raises `BrokenError` where it fails, and gives the answer back where it holds.

    A connection that broke is an answer too: `ended` says how, and every other check fails with that.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def __repr__(self) -> str:
        response = self.exchange.response
        return f"<{response.status if response else self.exchange.ended.how} to {self.exchange.request}>"

    @property
    def code(self) -> int:
        """The status."""
        return self._response.status

    @property
    def body(self) -> bytes:
        """The body, whole."""
        return self._response.body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:  # JSON: anything
        """The body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise self.broken(f"the answer is not JSON: {shape_of_body(self.body)}") from None

    @property
    def events(self) -> list[Event]:
        """The body as events of a stream."""
        decoder = Decoder()
        return [event for chunk in self._response.chunks for event in decoder.feed(chunk.data)]

    def header(self, name: str) -> str | None:
        """The value of a header."""
        return self._response.header(name)

    def status(self, *codes: int) -> Answer:
        """It has one of these statuses."""
        if self.code not in codes:
            words = shown(self.text[:200], 200) if self.body else "with an empty body"
            raise self.broken(f"the status is {self.code}, not {_either(codes)}: {words}")
        return self

    def refused(self, *codes: int) -> Answer:
        """It is an error with one of these statuses, in the envelope of OpenAI's API: a message and a type."""
        return self.status(*codes).media("application/json").has({"error": {"message": str, "type": str}})

    def media(self, media_type: str) -> Answer:
        """It says that it is of this media type; parameters such as a charset don't count (RFC 9110 section 8.3.1)."""
        said = self.header("content-type")
        parts = {part.partition(";")[0].strip().lower() for part in (said or "").split(",")}
        if parts != {media_type}:
            raise self.broken(f"the media type is {said or 'not said'}, not {media_type}")
        return self

    def has(self, shape: Shape) -> Answer:
        """Its JSON has this shape; see `shapes.differences`."""
        return self.value(self.json, shape)

    def value(self, value: object, shape: Shape, where: str = "$") -> Answer:
        """A value out of it has this shape."""
        found = list(differences(value, shape, where))
        if found:
            rest = len(found) - _SHOWN_DIFFERENCES
            more = f"; and {rest} more" if rest > 0 else ""
            raise self.broken("; ".join(found[:_SHOWN_DIFFERENCES]) + more)
        return self

    def order(self, grammar: Grammar) -> Answer:
        """Its events come in the order of this grammar."""
        events = self.events
        if not grammar.accepts(events):
            raise self.broken(f"the events are {_run(grammar.kinds(events))}, not {grammar.order}")
        return self

    def ended(self, *how: str) -> Answer:
        """It ended in one of these ways: "complete", or an error class of httpx; "complete" unless one is named."""
        wanted = how or (COMPLETE,)
        found = self.exchange.ended
        if found.how not in wanted:
            raise self.broken(f"the exchange ended as {found.how}{_because(found.says)}, not {_either(wanted)}")
        return self

    def holds(self, condition: object, message: str) -> Answer:
        """Whatever else is to be true of it; the message says what is, where it is not."""
        if not condition:
            raise self.broken(message)
        return self

    def broken(self, message: str) -> BrokenError:
        """The error that says so about this answer."""
        return BrokenError(f"{self.exchange.request}: {message}", self.exchange)

    @property
    def _response(self) -> Response:
        if self.exchange.response is None:
            ended = self.exchange.ended
            raise self.broken(f"there was no answer: {ended.how}{_because(ended.says)}")
        return self.exchange.response


def _because(says: str) -> str:
    return f" ({says})" if says else ""


def _either(values: Sequence[object]) -> str:
    return " or ".join(map(str, values))


def _run(kinds: Sequence[str]) -> str:
    """The kinds with repetitions counted: "role content x7 finish"."""
    runs: list[tuple[str, int]] = []
    for kind in kinds:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + 1)
        else:
            runs.append((kind, 1))
    return " ".join(kind if count == 1 else f"{kind} x{count}" for kind, count in runs) or "none"
