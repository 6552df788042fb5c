"""The built-in models: one for talking, and one for each thing that a client must cope with."""

import json
from typing import Final

from resilient_foundry.foundry.runtime.graph import Ending
from resilient_foundry.foundry.runtime.model import BuiltinModel, octets, words
from resilient_foundry.foundry.runtime.tokenizer import THINK_CLOSE, THINK_OPEN, TOOL_CLOSE, TOOL_OPEN


def _weather_calls(*cities: str) -> tuple[str, ...]:
    """Tool calls in the one form that 2.x makes its models write: one array, and parameters, not arguments."""
    calls = [{"name": "get_weather", "parameters": {"city": city}} for city in cities]
    return (TOOL_OPEN, *words(json.dumps(calls)), TOOL_CLOSE)


RESILIENCE: Final = BuiltinModel(
    alias="resilience",
    script=words(
        "Hello! Every call to a server is a small promise that two machines make to each other, and now and then one "
        "of them is busy, or restarting, or simply gone. That is nobody's fault. A resilient program expects it: it "
        "waits a little and asks again, it stops asking when asking would only add to the trouble, and it never keeps "
        "you waiting longer than you allowed. And when it has to give up, it tells you plainly what happened, so that "
        "you can decide what comes next."
    ),
)
"""A few friendly sentences about why calls fail: what `LocalRuntime()` serves when nothing else is asked for."""

SLOW: Final = BuiltinModel(
    alias="slow",
    script=words("One word at a time, and every word of this answer is real work for a processor."),
    effort=40,
)
"""Takes its time over each word, by computing and not by waiting: calls at the same time share the cores."""

TOOL_CALL: Final = BuiltinModel(alias="tool-call", script=_weather_calls("Lisbon"))
"""Calls one tool: `get_weather`, with the argument `city`."""

TWO_TOOL_CALLS: Final = BuiltinModel(alias="two-tool-calls", script=_weather_calls("Lisbon", "Oslo"))
"""Calls `get_weather` twice in one answer."""

THINKING: Final = BuiltinModel(
    alias="thinking",
    script=(THINK_OPEN, *words("Two and two make four."), THINK_CLOSE, *words("The answer is 4.")),
)
"""Thinks aloud before it answers."""

SPLIT_UTF8: Final = BuiltinModel(alias="split-utf8", script=octets("naïve café, 東京, 👋🏽, ¡adiós!"))
"""Accents, ideographs and emoji with a token for each byte, so that tokens end within characters."""

EMPTY: Final = BuiltinModel(alias="empty")
"""Has nothing to say: the answer ends before its first token."""

BREAKING: Final = BuiltinModel(
    alias="breaking",
    script=words("Everything goes well until it does not, and here it"),
    ending=Ending.FAIL,
)
"""Fails in mid-sentence, when ten words have been generated."""

ENDLESS: Final = BuiltinModel(
    alias="endless",
    script=words(" And so it goes on, and on, and on."),
    ending=Ending.REPEAT,
    context=65_536,
)
"""Never comes to an end by itself."""

JSON_TEXT: Final = BuiltinModel(
    alias="json-text",
    script=words('{"colour": "blue", "sizes": [1, 2, 3], "nested": {"ok": true, "none": null}}'),
)
"""Answers with a JSON object."""

EMBEDDING: Final = BuiltinModel(alias="embedding", embeds=True)
"""Turns texts into vectors of sixteen numbers; texts that share their characters are near to each other."""

NOT_DOWNLOADED: Final = BuiltinModel(alias="not-downloaded", downloaded=False)
"""Stands in the catalogue only: loading it is refused."""

BUILTIN_MODELS: Final = (
    RESILIENCE,
    SLOW,
    TOOL_CALL,
    TWO_TOOL_CALLS,
    THINKING,
    SPLIT_UTF8,
    EMPTY,
    BREAKING,
    ENDLESS,
    JSON_TEXT,
    EMBEDDING,
    NOT_DOWNLOADED,
)
"""All of them."""
