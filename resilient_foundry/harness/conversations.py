"""Chats as contracts hold them: how they are asked, what may vary in them, and what was said.

The strategies stay within what OpenAI's reference allows and what is not known to end a runtime: temperatures from 0 to
2, no `top_k` in the metadata beyond a small vocabulary, text without lone surrogates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.foundry.wire import items, mapping
from resilient_foundry.harness.answer import Answer
from resilient_foundry.harness.session import Session

Json = Any
"""Whatever JSON can hold."""
Messages = list[dict[str, Json]]

PATH: Final = "/v1/chat/completions"
SPLIT_TEXT: Final = "naïve café, 東京, 👋🏽, ¡adiós!"
"""What the model "split-utf8" says, a token for each byte."""
_LONGEST_TEXT = 200
_MOST_TURNS = 3

COMPLETION_FIELDS: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
)
"""The members of a completion, and of a chunk of one, in OpenAI's reference."""
CHOICE_FIELDS: Final = frozenset({"index", "finish_reason", "logprobs"})
MESSAGE_FIELDS: Final = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio", "reasoning_content"}
)
"""Those of a message, and of a delta of one; `reasoning_content` is what servers of open models have agreed on."""
USAGE_FIELDS: Final = frozenset(
    {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"}
)

USAGE: Final[Mapping[str, Json]] = {"prompt_tokens": int, "completion_tokens": int, "total_tokens": int}
"""The shape of a count of tokens."""


def user(content: Json) -> dict[str, Json]:
    """A message of the user."""
    return {"role": "user", "content": content}


def chat(session: Session, role: str = "chat", **settings: Json) -> Answer:
    """Ask the model of this role something, with these settings, and read the answer whole."""
    body = {"model": session.model(role), "messages": [user("What is resilience?")], **settings}
    return session.post(PATH, json=body)


def streamed(session: Session, role: str = "chat", **settings: Json) -> Answer:
    """The same as a stream."""
    return chat(session, role, **settings, stream=True)


def question(session: Session) -> Messages:
    """Something to ask: one question, and under fuzzing any conversation."""
    return session.vary([user("What is resilience?")], conversations)


def message(answer: Answer) -> Mapping[str, Json]:
    """The message of an answer read whole."""
    answer.status(200).has({"choices": list}).holds(items(answer.json["choices"]), "$.choices is empty")
    answer.value(answer.json["choices"][0], {"message": {"content": str | None}}, "$.choices[0]")
    found: Mapping[str, Json] = answer.json["choices"][0]["message"]
    return found


def said(answer: Answer) -> str:
    """The text of an answer read whole; empty where it has none."""
    return message(answer)["content"] or ""


def finish(answer: Answer) -> Json:
    """Why an answer read whole ended."""
    message(answer)
    return answer.json["choices"][0].get("finish_reason")


def chunks(answer: Answer) -> list[Mapping[str, Json]]:
    """The events of a stream as JSON, without the last word [DONE]."""
    answer.status(200).media("text/event-stream").holds(answer.events, "the stream has no events")
    found: list[Mapping[str, Json]] = []
    for place, event in enumerate(answer.events):
        if event.data.strip() == "[DONE]":
            continue
        try:
            chunk = mapping(json.loads(event.data))
        except ValueError:
            chunk = None
        if chunk is None:
            raise answer.broken(f"event {place} is no JSON object: {event.data[:80]!r}")
        found.append(chunk)
    return found


def choices(answer: Answer) -> list[Mapping[str, Json]]:
    """The first choice of each chunk that has one."""
    found = (items(chunk.get("choices")) for chunk in chunks(answer))
    return [mapping(each[0]) or {} for each in found if each]


def deltas(answer: Answer) -> list[Mapping[str, Json]]:
    """What each of them adds to the message."""
    return [mapping(choice.get("delta")) or {} for choice in choices(answer)]


def heard(answer: Answer, field: str = "content") -> str:
    """The text of a stream, its deltas joined."""
    return "".join(str(delta.get(field) or "") for delta in deltas(answer))


def endings(answer: Answer) -> list[Json]:
    """Every reason for the end that a stream gives; one, if all is well."""
    reasons = (choice.get("finish_reason") for choice in choices(answer))
    return [reason for reason in reasons if reason is not None]


def failures(answer: Answer) -> list[Mapping[str, Json]]:
    """The errors that a stream reports."""
    found = (mapping(chunk.get("error")) for chunk in chunks(answer))
    return [error for error in found if error is not None]


def is_done(answer: Answer) -> bool:
    """Whether the last word of a stream is [DONE]."""
    events = answer.events
    return bool(events) and events[-1].data.strip() == "[DONE]"


def holds_only(answer: Answer, value: Json, known: Iterable[str], where: str) -> None:
    """Break the contract where an object has members of other names."""
    foreign = sorted(set(mapping(value) or {}) - set(known))
    answer.holds(not foreign, f"{where} has {', '.join(map(repr, foreign))}, which the reference does not know")


def adds_up(answer: Answer, usage: Json, where: str = "$.usage") -> None:
    """Break the contract where the tokens of prompt and answer don't make the total."""
    answer.value(usage, USAGE, where)
    whole = usage["prompt_tokens"] + usage["completion_tokens"]
    answer.holds(usage["total_tokens"] == whole, f"{where} counts {usage['total_tokens']} tokens in all, not {whole}")


def texts() -> st.SearchStrategy[str]:
    """Any text that can be sent: every character but half a pair, at least one of them."""
    return st.text(min_size=1, max_size=_LONGEST_TEXT)


def conversations() -> st.SearchStrategy[Messages]:
    """Perhaps an instruction, some turns, and a question."""
    turn = st.tuples(_by("user"), _by("assistant"))
    return st.tuples(
        st.lists(_by("system", "developer"), max_size=1),
        st.lists(turn, max_size=_MOST_TURNS).map(lambda turns: [each for pair in turns for each in pair]),
        st.tuples(_by("user")),
    ).map(lambda found: [each for part in found for each in part])


def parts() -> st.SearchStrategy[Messages]:
    """The content of a message in parts, all of them text."""
    return st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts()}), min_size=1, max_size=4)


def few_tokens() -> st.SearchStrategy[int]:
    """Limits that keep an answer short."""
    return st.integers(1, 64)


def fractions(least: float, most: float) -> st.SearchStrategy[float]:
    """Numbers between two others, none so small or so exact that it asks about arithmetic and not about chats."""
    return st.floats(least, most, width=16, allow_subnormal=False)


def _by(*roles: str) -> st.SearchStrategy[dict[str, Json]]:
    """A message of one of these."""
    return st.fixed_dictionaries({"role": st.sampled_from(roles), "content": texts()})
