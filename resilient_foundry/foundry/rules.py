"""What may be asked of which generation: what these servers would mistake, ignore or die of is refused here.

`strict=False` lets through what would only be ignored; what is wrong everywhere, or dangerous, is refused always.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, cast, get_args

from resilient_foundry.foundry.deviations import Tolerance, refused, tolerates
from resilient_foundry.foundry.errors import InvalidRequestError, UnsupportedError
from resilient_foundry.foundry.generations import Generation
from resilient_foundry.foundry.wire import mapping

Message = Mapping[str, object]
"""One message: `role`, `content`, and whatever else the model's template knows."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ChatParameters(TypedDict, total=False):
    """What may be said with a chat.

    `max_tokens` 1..2**31-1 (the servers' default is 2048), `temperature` 0..2, `top_p` 0..1, `stop` up to four texts
    (2.x), `seed` a 64-bit integer (2.x), `response_format` as OpenAI writes it (2.x), `reasoning_effort` (2.x),
    `metadata` text to text, in which both generations look for `top_k` and `random_seed`; `extra` goes into the body as
    it is.
    """

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    n: int | None
    tools: Sequence[Mapping[str, object]] | None
    tool_choice: str | Mapping[str, object] | None
    parallel_tool_calls: bool | None
    response_format: Mapping[str, object] | None
    reasoning_effort: Effort | None
    presence_penalty: float | None
    frequency_penalty: float | None
    metadata: Mapping[str, str] | None
    extra: Mapping[str, object] | None


_KNOWN = frozenset(ChatParameters.__annotations__)
_INT32 = 2**31 - 1
_INT64 = 2**63
_DIGITS = len(str(_INT32))
_MAX_TOP_K = 1000
"""More than a vocabulary kills 1.2.4 (SIGSEGV); no model has fewer than a thousand tokens."""
_MAX_STOPS, _MAX_STOP_BYTES = 4, 16384
_IGNORED = {
    "logprobs": "log probabilities",
    "top_logprobs": "log probabilities",
    "logit_bias": "a bias of logits",
    "functions": "`functions`; use tools",
    "top_k": "top_k outside metadata; use metadata={'top_k': '40'}",
    "random_seed": "random_seed outside metadata; use metadata={'random_seed': '7'}",
    "repetition_penalty": "a repetition penalty",
}
"""Fields that both generations take and ignore."""
_OURS = frozenset({"model", "messages", "stream", "stream_options"})
_HINTS = {
    "n": "n other than 1",
    "seed": "seed; metadata={'random_seed': '7'} is what it knows",
    "presence_penalty": "penalties other than 0",
    "frequency_penalty": "penalties other than 0",
}
_NOT_EXTRA = _OURS | _KNOWN | {"max_completion_tokens"}
"""What `extra` can't hold: it would pass by the checks that keep these servers alive."""
_WRAPPER = frozenset({"name", "schema", "strict", "description"})


def chat_body(
    generation: Generation, model: str, messages: Sequence[Message], parameters: ChatParameters, *, strict: bool
) -> dict[str, object]:
    """The body of a chat as this generation understands it, without `stream`."""
    given = {name: value for name, value in parameters.items() if value is not None}
    body: dict[str, object] = {"model": model, "messages": _messages(messages, strict=strict)}
    extra = mapping(given.pop("extra", {}))
    if extra is None:
        raise InvalidRequestError("extra is a dict of further fields of the body")
    _check_numbers(given)
    _check_stop(given.get("stop"))
    _check_tools(given)
    _check_metadata(given.get("metadata"))
    _check_effort(given.get("reasoning_effort"))
    _drop_what_says_nothing(given)
    if "response_format" in given:
        shape = _response_format(generation, given.pop("response_format"))
        if shape is not None:
            given["response_format"] = shape
    if strict:
        _refuse_ignored(generation, given, extra)
    if isinstance(given.get("stop"), tuple):
        given["stop"] = list(cast("tuple[object, ...]", given["stop"]))
    taken = sorted(_NOT_EXTRA & extra.keys())
    if taken:
        why = "which the client itself sets" if taken[0] in _OURS else "which is a parameter: use it, or max_tokens"
        raise InvalidRequestError(f"extra can't hold {taken[0]!r}, {why}")
    return {**body, **given, **extra}


def check_names(parameters: Mapping[str, object], call: str) -> None:
    """Python's own error for a keyword that a call does not take."""
    unknown = sorted(set(parameters) - _KNOWN)
    if unknown:
        raise TypeError(
            f"{call}() got an unexpected keyword argument {unknown[0]!r}; fields it does not know go in extra="
        )


def messages_of(prompt: str, system: str | None) -> list[Message]:
    """A prompt as messages; an empty one is refused, because it has crashed servers and means nothing."""
    if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidRequestError(f"the prompt is text, not {type(prompt).__name__}")
    if not prompt.strip():
        raise InvalidRequestError("the prompt is empty")
    spoken: list[Message] = [{"role": "user", "content": prompt}]
    return [{"role": "system", "content": system}, *spoken] if system else spoken


def embedding_inputs(texts: str | Sequence[str]) -> list[str]:
    """The texts to embed, none of them empty."""
    listed = [texts] if isinstance(texts, str) else list(texts)
    if not listed:
        raise InvalidRequestError("there is nothing to embed: the list of texts is empty")
    for place, text in enumerate(listed):
        if not isinstance(text, str) or not text.strip():  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
            raise InvalidRequestError(f"text {place} to embed is empty or no text")
    return listed


def check_embedding_model(generation: Generation, model: str, *, force: bool) -> None:
    """Where a chat model asked for embeddings kills the server, the name must say that the model embeds."""
    by_name = tolerates(generation, Tolerance.EMBED_BY_NAME)
    if by_name and not force and "embed" not in model.lower():
        raise UnsupportedError(
            f"{model!r} does not look like an embedding model, and a chat model asked for embeddings kills a "
            f"{generation.value} service; pass force=True if you know that it is one"
        )


def _messages(messages: Sequence[Message], *, strict: bool) -> list[dict[str, object]]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise InvalidRequestError("messages is a list of {'role': ..., 'content': ...}")
    if not messages:
        raise InvalidRequestError("the list of messages is empty")
    checked = [_message(place, message, strict=strict) for place, message in enumerate(messages)]
    if not any(message.get("content") or message.get("tool_calls") for message in checked):
        raise InvalidRequestError("the messages are empty: none of them has content")
    return checked


def _message(place: int, message: Message, *, strict: bool) -> dict[str, object]:
    if not isinstance(message, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise InvalidRequestError(f"message {place} is a dict with 'role' and 'content', not {type(message).__name__}")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise InvalidRequestError(f"message {place} has no role: 'system', 'user', 'assistant' or 'tool'")
    if isinstance(content, list | tuple):
        flat = _flatten(place, cast("Sequence[object]", content), strict=strict)
        return {**message, "content": flat}
    if content is not None and not isinstance(content, str):
        raise InvalidRequestError(f"the content of message {place} is text or a list of parts")
    return dict(message)


def _flatten(place: int, parts: Sequence[object], *, strict: bool) -> object:
    """Text parts as one text: 1.x writes a list into the prompt as JSON, and 2.x drops what is not text in silence."""
    texts: list[str] = []
    for part in parts:
        fields = mapping(part) or {}
        kind, said = fields.get("type"), fields.get("text")
        if kind in {"text", "input_text"} and isinstance(said, str):
            texts.append(said)
        elif strict or "image" in str(kind):
            raise UnsupportedError(
                f"message {place} holds a part of type {kind!r}: Foundry Local reads nothing but text in a chat"
            )
        else:
            return list(parts)
    return "".join(texts)


def _drop_what_says_nothing(given: dict[str, object]) -> None:
    """Also for the servers' sake: 1.x answers differently to a penalty of 0 than to none."""
    nothing: tuple[tuple[str, object], ...] = (("presence_penalty", 0), ("frequency_penalty", 0), ("n", 1))
    for name, value in nothing:
        if given.get(name) == value:
            del given[name]
    if "tools" in given and not given["tools"]:
        del given["tools"]


def _check_numbers(given: Mapping[str, object]) -> None:
    for name, top in (("temperature", 2.0), ("top_p", 1.0)):
        value = given.get(name)
        if value is not None and not (_is_number(value) and 0 <= cast("float", value) <= top):
            raise InvalidRequestError(f"{name} is a number from 0 to {top:g}, not {value!r}")
    for name in ("presence_penalty", "frequency_penalty"):
        value = given.get(name)
        if value is not None and not _is_number(value):
            raise InvalidRequestError(f"{name} is a number, not {value!r}")
    for name in ("max_tokens", "n"):
        value = given.get(name)
        if value is not None and not (_is_integer(value) and 1 <= cast("int", value) <= _INT32):
            raise InvalidRequestError(f"{name} is a whole number from 1 to {_INT32}, not {value!r}")
    seed = given.get("seed")
    if seed is not None and not (_is_integer(seed) and -_INT64 <= cast("int", seed) < _INT64):
        raise InvalidRequestError(f"seed is a 64-bit integer, not {seed!r}")
    parallel = given.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise InvalidRequestError(f"parallel_tool_calls is True or False, not {parallel!r}")


def _check_stop(stop: object) -> None:
    if stop is None:
        return
    texts = [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list | tuple):
        raise InvalidRequestError(f"stop is a text or a list of texts, not {type(stop).__name__}")
    words = cast("Sequence[object]", texts)
    if not 1 <= len(words) <= _MAX_STOPS or not all(isinstance(word, str) and word for word in words):
        raise InvalidRequestError(f"stop holds one to {_MAX_STOPS} texts, none of them empty")
    if sum(len(str(word).encode("utf-8", "surrogatepass")) for word in words) > _MAX_STOP_BYTES:
        raise InvalidRequestError(f"stop is longer than {_MAX_STOP_BYTES} bytes")


def _check_metadata(metadata: object) -> None:
    """Both generations act on `top_k` and `random_seed` in here: 2.x fails with 500, 1.x dies of a bad one."""
    if metadata is None:
        return
    fields = mapping(metadata)
    if fields is None or not all(isinstance(value, str) for value in fields.values()):
        raise InvalidRequestError("metadata is a dict of text to text")
    for name, top in (("top_k", _MAX_TOP_K), ("random_seed", _INT32)):
        value = fields.get(name)
        if isinstance(value, str) and not (
            value.isascii() and value.isdigit() and len(value) <= _DIGITS and int(value) <= top
        ):
            raise InvalidRequestError(
                f"metadata[{name!r}] is a whole number from 0 to {top} written as text, not {value!r}"
            )


def _check_effort(effort: object) -> None:
    if effort is not None and effort not in get_args(Effort):
        raise InvalidRequestError(f"reasoning_effort is one of {', '.join(get_args(Effort))}, not {effort!r}")


def _check_tools(given: Mapping[str, object]) -> None:
    names: list[str] = []
    tools = given.get("tools", ())
    if not isinstance(tools, list | tuple):
        raise InvalidRequestError("tools is a list of {'type': 'function', 'function': {'name': ...}}")
    for place, tool in enumerate(cast("Sequence[object]", tools)):
        fields = mapping(tool) or {}
        function = mapping(fields.get("function")) or {}
        name = function.get("name")
        if fields.get("type") != "function" or not isinstance(name, str) or not name:
            raise InvalidRequestError(f"tool {place} is not {{'type': 'function', 'function': {{'name': ...}}}}")
        if name in names:
            raise InvalidRequestError(f"two tools are named {name!r}")
        if function.get("strict") is True:
            raise UnsupportedError(f"Foundry Local has no strict tools: leave 'strict' out of tool {name!r}")
        names.append(name)
    choice = given.get("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return
    if not names:
        raise InvalidRequestError("tool_choice asks for a tool and there are no tools")
    if choice == "required":
        return
    named = (mapping((mapping(choice) or {}).get("function")) or {}).get("name")
    if named not in names:
        raise InvalidRequestError(
            f"tool_choice is 'auto', 'none', 'required' or names one of the tools ({', '.join(names)}), not {choice!r}"
        )


def _refuse_ignored(generation: Generation, given: Mapping[str, object], extra: Mapping[str, object]) -> None:
    ignored = [*refused(generation), *sorted(_IGNORED)]
    named = next((name for name in ignored if name in given or name in extra), None)
    if named is not None:
        hint = _HINTS.get(named) or _IGNORED.get(named) or named
        raise UnsupportedError(
            f"Foundry Local {generation.value} does not support {hint}; strict=False sends it all the same"
        )


def _response_format(generation: Generation, shape: object) -> Mapping[str, object] | None:
    """Without OpenAI's wrapper around a schema where it would be taken for the schema itself."""
    fields = mapping(shape)
    if fields is None or not isinstance(fields.get("type"), str):
        raise InvalidRequestError("response_format is a dict with a 'type'")
    if fields["type"] == "text":
        return None
    if fields["type"] != "json_schema":
        return fields
    schema = mapping(fields.get("json_schema"))
    is_wrapped = schema is not None and "schema" in schema and set(schema) <= _WRAPPER
    if schema is not None and is_wrapped and tolerates(generation, Tolerance.UNWRAP_SCHEMAS):
        schema = mapping(schema["schema"])
    if schema is None:
        raise InvalidRequestError("response_format of type json_schema needs the schema, a dict, in json_schema")
    return {"type": "json_schema", "json_schema": schema}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
