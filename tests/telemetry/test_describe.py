"""Every event as a name, flat values, and how loud it is."""

import logging
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from resilient_foundry import events
from resilient_foundry.events import Event, Outcome
from resilient_foundry.telemetry.describe import described
from resilient_foundry.telemetry.names import STABLE

KINDS = {name: kind for name, kind in vars(events).items() if isinstance(kind, type) and is_dataclass(kind)}
EVENTS: dict[str, type[Event]] = {
    name: kind for name, kind in KINDS.items() if issubclass(kind, Event) and kind is not Event
}
DEBUG = {"AttemptStarted", "AttemptAnswered", "AttemptEnded"}
WARNING = {
    "RetriesExhausted",  # gave up
    "CircuitOpened",
    "CircuitHalfOpened",
    "CircuitClosed",
    "CircuitListenerFailed",  # somebody's own code is to be mended
    "Remedied",  # another address, another model in memory; or not, and somebody has to see to it
}
VALUES = {int: 1, float: 1.0, str: "words", bool: True, Outcome: Outcome.COMPLETE}


def example(kind: type[Event]) -> Event:
    hints: dict[str, Any] = get_type_hints(kind)
    known: dict[Any, Any] = VALUES
    values = {
        each.name: next(value for type_, value in known.items() if type_ in (hint := hints[each.name], *_args(hint)))
        for each in fields(kind)  # type: ignore[arg-type]  # EVENTS holds dataclasses only
    }
    return kind(**values)


def _args(hint: Any) -> tuple[Any, ...]:
    args: tuple[Any, ...] = getattr(hint, "__args__", ())
    return args


@pytest.mark.parametrize("name", EVENTS)
def test_nothing_is_louder_than_info_but_giving_up_and_changes_of_state(name: str) -> None:
    """Who is refused, denied or timed out is told by an exception; what went well after all needs nobody's hand."""
    level = logging.DEBUG if name in DEBUG else logging.WARNING if name in WARNING else logging.INFO
    assert EVENTS[name].level == level


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_has_a_name_and_flat_values(name: str) -> None:
    """What any backend can take as it is, under the prefix of this package."""
    found = described(example(EVENTS[name]), STABLE)
    assert found is not None
    called, values = found
    assert called.startswith("resilient_foundry.")
    assert all(type(value) in {str, int, float, bool} for value in values.values())
    assert not any("." in key for key in values)


def test_an_event_of_somebody_elses_has_no_name() -> None:
    """It is left out where names are wanted."""

    class Mine(Event):
        pass

    assert described(Mine(), STABLE) is None
