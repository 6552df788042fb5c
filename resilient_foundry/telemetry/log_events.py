"""Events by OpenTelemetry's log API: log records that have a name, with the trace of the call.

Events of spans are on their way out of OpenTelemetry in favour of these (OTEP 4430,
https://github.com/open-telemetry/opentelemetry-specification/blob/main/oteps/4430-span-event-api-deprecation-plan.md).
In Python the API still has a private name, so it is looked for, and not relied upon.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context

from resilient_foundry.events import Event
from resilient_foundry.telemetry.describe import Values
from resilient_foundry.telemetry.names import SCOPE

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

_SEVERITIES = 4
"""OpenTelemetry has so many numbers for what is one level in Python, from 1 (TRACE) on, and DEBUG is 5."""


class LogEvents:
    """Takes events, and makes named log records of them."""

    __slots__ = ("_logger",)

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def emit(self, event: Event, name: str, values: Values, at: int, context: Context | None) -> None:
        """Write down what happened `at` these nanoseconds since 1970, with a sentence for people as its body."""
        severity = _api.SeverityNumber(event.level // 10 * _SEVERITIES + 1)
        self._logger.emit(
            timestamp=at,
            context=context,
            severity_number=severity,
            severity_text=severity.name,
            body=str(event) or None,
            attributes=values,
            event_name=name,
        )


def log_events(given: LoggerProvider | None) -> LogEvents | None:
    """Who takes log records: the provider that was given, or that of the process; None where nobody does."""
    if _api is None:
        return None
    provider = given or _api.get_logger_provider()
    if isinstance(provider, (_api.NoOpLoggerProvider, _PROXY)):
        return None
    return LogEvents(provider.get_logger(SCOPE))


def can_log_events() -> bool:
    """Whether this OpenTelemetry has an API for log records with a name: 1.38 and later have."""
    return _api is not None


def _module() -> Any:  # a module that may have changed: nothing is known of its types
    try:
        found = importlib.import_module("opentelemetry._logs")
        known = "event_name" in inspect.signature(found.Logger.emit).parameters
    except (ImportError, AttributeError):
        return None
    return found if known else None


_api = _module()
_PROXY: Any = getattr(getattr(_api, "_internal", None), "ProxyLoggerProvider", ())
"""What stands there until somebody sets up an SDK; it has no public name either."""
