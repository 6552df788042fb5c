"""What was expected against what came, out of the sentence that says how a contract was broken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_PARTS: Final = re.compile(r"; (?=\$|event|and \d+ more)")
_REQUEST: Final = re.compile(r"^[A-Z]+ /\S*: ")
_OTHERWISE: Final = re.compile(
    r"^(?P<place>.+?) (?:(?:is|are|ended as) (?P<came>.+), (?:not|which is not|fewer than) (?P<expected>.+)|"
    r"has no (?P<missing>'.+'))$",
    re.DOTALL,
)
_STATUS: Final = re.compile(r"^(?P<place>the status) is (?P<came>\d+), not (?P<expected>[\d or]+): .*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Missed:
    """A place in which something else was expected."""

    place: str
    expected: str
    came: str


def missed(sentence: str) -> tuple[Missed, ...]:
    """The places that a sentence of `Answer` names, such as "$.object is 1, not 'list'"; none of another sentence."""
    found: list[Missed] = []
    for part in _PARTS.split(_REQUEST.sub("", sentence)):
        if match := _STATUS.match(part):
            found.append(Missed(match["place"], match["expected"], match["came"]))
        elif match := _OTHERWISE.match(part):
            expected = f"a member {match['missing']}" if match["missing"] else match["expected"]
            found.append(Missed(match["place"], expected, match["came"] or "missing"))
    return tuple(found)
