"""The older REST of the 0.x service, which the command `foundry` starts: /openai/... and /foundry/list.

Written from Microsoft's documentation and the SDKs that talked to it. That service has no build for Linux, so there are
no tapes of it; against a running one these are asked live.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from resilient_foundry.foundry.wire import items, mapping
from resilient_foundry.harness import MAY, MUST, OWN, SHOULD, Answer, Session, contract, each

_OLD: Final = "<1"
_DEVICES: Final = ("NPU", "GPU", "CPU")
"""In this order the variants of a model are listed: the first that fits the machine is the best."""
_LONG_SECONDS: Final = 600.0
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%")


def _any_case(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an object under names in lower case: documentation and SDKs don't agree about capitals."""
    return {name.lower(): value for name, value in members.items()}


def _catalogue(answer: Answer) -> list[Any]:
    """The models of the catalogue: the documentation wraps them in an object, the SDKs read a bare list."""
    found = answer.status(200).json
    wrapped = mapping(found)
    models = items(found if wrapped is None else wrapped.get("models"))
    answer.value(models, each({"name": str}), "the models")
    return list(models or ())


def _load(session: Session, name: str) -> Answer:
    return session.get(f"/openai/load/{name}?ttl=600", read=_LONG_SECONDS)


def _is_loaded(session: Session, name: str) -> bool:
    return name in session.get("/openai/loadedmodels").status(200).has(each(str)).json


def _chat(session: Session, **more: Any) -> Answer:
    messages = [{"role": "user", "content": "What is resilience?"}]
    chat = {"model": session.model("chat"), "messages": messages, "max_tokens": 8}
    return session.post("/v1/chat/completions", json=chat | more)


@contract(MUST, versions=_OLD)
def tells_its_state(session: Session) -> None:
    """The service says at which addresses it listens, and where it keeps its models."""
    answer = session.get("/openai/status").status(200)
    answer.value(_any_case(answer.json), {"endpoints": each(str, least=1), "modeldirpath": str}, "the state")


@contract(MUST, versions=_OLD)
def lists_the_catalogue(session: Session) -> None:
    """The catalogue says of each model its name and alias, where it comes from, and what it runs on."""
    answer = session.get("/foundry/list")
    model = {
        "name": str,
        "alias": str,
        "uri": str,
        "version": str,
        "providerType": str,
        "fileSizeMb": float,
        "runtime": {"deviceType": str, "executionProvider": str},
    }
    answer.value(_catalogue(answer), each(model, least=1), "the models")


@contract(SHOULD, versions=_OLD)
def lists_the_best_variant_first(session: Session) -> None:
    """The variants of a model are listed for NPU first, then GPU, then CPU: clients take the first that fits."""
    answer = session.get("/foundry/list")
    places: dict[str, list[int]] = {}
    for model in _catalogue(answer):
        device = str(model["runtime"]["deviceType"]).upper()
        places.setdefault(model["alias"], []).append(_DEVICES.index(device) if device in _DEVICES else len(_DEVICES))
    unsorted = sorted(alias for alias, found in places.items() if found != sorted(found))
    answer.holds(not unsorted, f"the variants of {', '.join(unsorted)} are in another order")


@contract(MUST, needs="chat", versions=_OLD)
def lists_what_is_downloaded(session: Session) -> None:
    """The models that are on this machine are an array of names."""
    answer = session.get("/openai/models").status(200).has(each(str))
    answer.holds(session.model("chat") in answer.json, f"{session.model('chat')} is here, and is not listed")


@contract(MUST, needs="chat", versions=_OLD)
def lists_what_is_loaded(session: Session) -> None:
    """The models in memory are an array of names."""
    session.expect(
        _is_loaded(session, session.model("chat")), f"{session.model('chat')} is in memory, and is not listed"
    )


@contract(MUST, needs=[OWN, "chat"], versions=_OLD)
def loads_and_unloads(session: Session) -> None:
    """A model is unloaded by force, and loaded again, and listed when it is in memory."""
    name = session.model("chat")
    try:
        session.get(f"/openai/unload/{name}?force=true").status(200)
        session.expect(not _is_loaded(session, name), f"{name} is listed although it was unloaded")
    finally:
        again = _load(session, name)
    again.status(200)
    session.expect(_is_loaded(session, name), f"{name} is not listed although it was loaded")


@contract(MUST, needs=[OWN, "chat"], versions=_OLD)
def loading_again_changes_nothing(session: Session) -> None:
    """Loading what is loaded succeeds: a load may be repeated when its answer was lost."""
    for _ in range(2):
        _load(session, session.model("chat")).status(200)


@contract(MUST, needs=[OWN, "chat"], versions=_OLD)
def unloading_again_changes_nothing(session: Session) -> None:
    """Unloading what is not loaded succeeds: an unload may be repeated when its answer was lost."""
    name = session.model("chat")
    try:
        for _ in range(2):
            session.get(f"/openai/unload/{name}?force=true").status(200)
    finally:
        _load(session, name)


@contract(MAY, needs=[OWN, "chat"], versions=_OLD)
def unloads_everything(session: Session) -> None:
    """All models can be unloaded at once."""
    try:
        session.get("/openai/unloadall").status(200)
        left = session.get("/openai/loadedmodels").status(200).has(each(str))
        left.holds(not left.json, f"{', '.join(left.json)} are listed still")
    finally:
        _load(session, session.model("chat"))


@contract(SHOULD, needs="not-downloaded", versions=_OLD)
def says_that_a_model_is_not_downloaded(session: Session) -> None:
    """Loading a model whose files are not here fails, and the text says that nobody provides it."""
    answer = _load(session, session.model("not-downloaded"))
    answer.holds(answer.code >= 400, f"the status is {answer.code}, as if it were loaded")
    answer.holds("No OpenAIService provider found" in answer.text, f"the text is {answer.text!r}")


def _download(session: Session, model: Mapping[str, Any]) -> Answer:
    """Have a model downloaded: progress comes line by line, and one JSON object at the end."""
    wanted = {
        "Name": model["name"],
        "Uri": model["uri"],
        "Publisher": model.get("publisher", ""),
        "ProviderType": f"{model['providerType']}Local",
        "PromptTemplate": model.get("promptTemplate"),
    }
    body = {"model": wanted, "token": "", "IgnorePipeReport": True}
    return session.post("/openai/download", json=body, read=_LONG_SECONDS).status(200).ended()


def _result(answer: Answer) -> dict[str, Any]:
    """The object at the end of a download."""
    start = answer.text.find("{")
    answer.holds(start >= 0, "there is no result at the end")
    try:
        return _any_case(json.loads(answer.text[start:]))
    except ValueError:
        raise answer.broken(f"the result is no JSON: {answer.text[start:]!r}") from None


@contract(MUST, needs=[OWN, "chat"], versions=_OLD)
def downloads_again_what_is_there(session: Session) -> None:
    """A download of what is there ends with success: it may be repeated when its connection broke."""
    known = _catalogue(session.get("/foundry/list"))
    model = next((each for each in known if each["name"] == session.model("chat")), None)
    session.expect(model is not None, f"{session.model('chat')} is not in the catalogue")
    answer = _download(session, model or {})
    answer.value(_result(answer), {"success": True}, "the result")
    percents = [float(each) for each in _PERCENT.findall(answer.text)]
    answer.holds(percents == sorted(percents), "the progress goes back")


@contract(SHOULD, needs=OWN, versions=_OLD)
def says_why_a_download_failed(session: Session) -> None:
    """A download of what the catalogue does not have ends with an error that says something."""
    unknown = {"name": "no-such-model:1", "uri": "azureml://no-such-model", "providerType": "AzureFoundry"}
    answer = _download(session, unknown)
    answer.value(_result(answer), {"success": False, "errormessage": str}, "the result")
    answer.holds(_result(answer)["errormessage"], "the error says nothing")


@contract(MAY, versions=_OLD)
def says_which_gpu_it_uses(session: Session) -> None:
    """The device is a number."""
    session.get("/openai/getgpudevice").status(200).has(int)


@contract(MAY, needs=OWN, versions=_OLD)
def may_be_told_which_gpu_to_use(session: Session) -> None:
    """The device can be set, here to the one that it is."""
    device = session.get("/openai/getgpudevice").status(200).has(int).json
    session.get(f"/openai/setgpudevice/{device}").status(200)


@contract(MAY, needs="chat", versions=_OLD)
def counts_tokens(session: Session) -> None:
    """The tokens of a chat can be counted without an answer."""
    chat = {"model": session.model("chat"), "messages": [{"role": "user", "content": "What is resilience?"}]}
    answer = session.post("/v1/chat/completions/tokenizer/encode/count", json=chat).status(200).has({"tokenCount": int})
    answer.holds(answer.json["tokenCount"] > 0, "it counts no tokens")


@contract(MUST, needs="chat", versions=_OLD)
def answers_a_chat_with_a_message(session: Session) -> None:
    """A chat is answered with a message of the assistant, where OpenAI's API has it."""
    _chat(session).status(200).has({"choices": [{"message": {"role": "assistant", "content": str}}]})


@contract(MUST, needs="chat", versions=_OLD)
def says_why_a_stream_ended(session: Session) -> None:
    """A streamed chat says why it ended, and ends with `[DONE]`: agents wait for either."""
    answer = _chat(session, stream=True).status(200).media("text/event-stream").ended()
    events = [event.data.strip() for event in answer.events]
    answer.holds(events[-1:] == ["[DONE]"], "the stream ends without [DONE]")
    reasons = [choice.get("finish_reason") for event in events[:-1] for choice in json.loads(event)["choices"]]
    answer.holds([each for each in reasons if each], "no event has a finish_reason")
