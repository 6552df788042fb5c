"""Events as log records of the logger `resilient_foundry`: a sentence for people, flat fields for programs.

The fields are what formatters and handlers can take as it is: `otel.event.name`, under which OpenTelemetry's handler
looks for the name of the event, the values of the event behind `resilient_foundry.`, and the method and the server by
the names of OpenTelemetry's conventions. Where the call is traced its span is the current one while a record is made
and handled, so that whoever correlates logs with traces finds it. Records hold no header, query, body or error text;
each event says how loud it is.
"""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry.context import Context, attach, detach

from resilient_foundry.events import AttemptAnswered, AttemptEnded, AttemptStarted, Event, Ledger
from resilient_foundry.telemetry.describe import Values, described
from resilient_foundry.telemetry.names import EVENT_NAME, PREFIX, STABLE
from resilient_foundry.telemetry.provider import server_of

_logger = logging.getLogger("resilient_foundry")
_logger.addHandler(logging.NullHandler())  # what is shown, and where, is the application's to say


is_enabled_for = _logger.isEnabledFor
"""Whether anybody reads at a level."""


def log(ledger: Ledger, event: Event) -> None:
    """Write the event down with whose it is, if anybody reads at its level."""
    if not _logger.isEnabledFor(event.level):
        return
    request, context = ledger.request, ledger.context
    token = attach(context) if isinstance(context, Context) else None
    try:
        url = request.url
        whose = f"{request.method} {url.scheme}://{url.netloc.decode('ascii', 'replace')}"
        _logger.log(event.level, "%s: %s", whose, _worded(event), extra=_fields(request, event))
    finally:
        if token is not None:
            detach(token)


def _fields(request: Any, event: Event) -> Values:
    fields: Values = {STABLE.method: request.method, **server_of(request.url, STABLE)}
    found = described(event, STABLE)
    if found is not None:
        name, values = found
        fields[EVENT_NAME] = name
        fields |= {f"{PREFIX}.{key}": value for key, value in values.items()}
    return fields


def _worded(event: Event) -> str:
    match event:
        case AttemptStarted():
            return f"attempt {event.number}"
        case AttemptAnswered():
            return f"attempt {event.number} was answered {event.status} after {event.after:.3f} s"
        case AttemptEnded():
            end = f"{event.outcome.value} after {event.after:.3f} s, {event.bytes} bytes"
            return f"attempt {event.number} ended: {end}"
        case _:
            return str(event)
