"""Events as log records of the logger `resilient_foundry`, with the event as structured field `resilience`.

Records hold no header, query, body or error text; each event says how loud it is.
"""

from __future__ import annotations

import logging
from typing import Any

from resilient_foundry.events import AttemptAnswered, AttemptEnded, AttemptStarted, Event

_logger = logging.getLogger("resilient_foundry")
_logger.addHandler(logging.NullHandler())  # what is shown, and where, is the application's to say


def log(request: Any, event: Event) -> None:  # request: the library's own
    """Write the event down with whose it is, if anybody reads at its level."""
    if _logger.isEnabledFor(event.level):
        url = request.url
        whose = f"{request.method} {url.scheme}://{url.netloc.decode('ascii', 'replace')}"
        _logger.log(event.level, "%s: %s", whose, _worded(event), extra={"resilience": event})


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
