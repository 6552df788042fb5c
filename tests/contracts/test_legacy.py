"""The contracts about the 0.x service, asked of a stand-in that answers as that service is documented to.

The service itself can't be had on Linux. What is shown here is that the contracts can be kept, and that each of them
notices the one thing that it is about.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from resilient_foundry.foundry.deviations import deviations
from resilient_foundry.foundry.runtime import ServedModel
from resilient_foundry.harness import OWN
from resilient_foundry.harness.contract import Contract, collect, provided
from resilient_foundry.harness.subject import Opened
from resilient_foundry.harness.verdict import Outcome, Runtime, Verdict
from resilient_foundry.harness.verify import verify

CONTRACTS: Final = {each.name: each for each in collect(provided("contracts"), only=["legacy."])}
CHAT: Final = "phi-4-mini-instruct-generic-cpu:5"
ABSENT: Final = "qwen2.5-0.5b-instruct-generic-cpu:4"


def entry(name: str, alias: str, device: str) -> dict[str, Any]:
    return {
        "name": name,
        "alias": alias,
        "uri": f"azureml://registries/azureml/models/{name}",
        "version": name.rpartition(":")[2],
        "providerType": "AzureFoundry",
        "fileSizeMb": 3686,
        "publisher": "Microsoft",
        "promptTemplate": None,
        "runtime": {"deviceType": device, "executionProvider": f"{device}ExecutionProvider"},
    }


@dataclass
class Daemon:
    """The 0.x service as it is documented, with a flaw where a path has one."""

    flaws: dict[str, httpx.Response] = field(default_factory=dict[str, httpx.Response])
    wrapped: bool = True
    forgetful: bool = False
    """Whether it says yes to loads and unloads, and does nothing."""
    loaded: set[str] = field(default_factory=lambda: {CHAT})
    catalogue: list[dict[str, Any]] = field(
        default_factory=lambda: [
            entry("phi-4-mini-instruct-cuda-gpu:5", "phi-4-mini", "GPU"),
            entry(CHAT, "phi-4-mini", "CPU"),
            entry(ABSENT, "qwen2.5-0.5b", "CPU"),
        ]
    )
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        flaw = next((flaw for path, flaw in self.flaws.items() if request.url.path.startswith(path)), None)
        with self.lock:
            answer = flaw or self.answer(request)
        # A new one, since the recorder reads the body as it comes from a network: once.
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    def answer(self, request: httpx.Request) -> httpx.Response:
        verb, _, name = request.url.path.removeprefix("/openai/").partition("/")
        match request.method, request.url.path:
            case "GET", "/openai/status":
                state = {"Endpoints": ["http://127.0.0.1:5273"], "ModelDirPath": "C:/models", "PipeName": "inference"}
                return httpx.Response(200, json=state)
            case "GET", "/foundry/list":
                return httpx.Response(200, json={"models": self.catalogue} if self.wrapped else self.catalogue)
            case "GET", "/openai/models":
                return httpx.Response(200, json=[CHAT])
            case "GET", "/openai/loadedmodels":
                return httpx.Response(200, json=sorted(self.loaded))
            case "GET", "/openai/getgpudevice":
                return httpx.Response(200, json=0)
            case "GET", _ if verb == "setgpudevice":
                return httpx.Response(200)
            case "GET", _ if verb in {"load", "unload", "unloadall"}:
                return self.change(verb, name)
            case "POST", "/openai/download":
                return self.download(json.loads(request.content)["model"])
            case "POST", "/v1/chat/completions/tokenizer/encode/count":
                return httpx.Response(200, json={"tokenCount": 6})
            case "POST", "/v1/chat/completions":
                return chat(streamed=json.loads(request.content).get("stream", False))
            case _:
                return httpx.Response(404)

    def change(self, verb: str, name: str) -> httpx.Response:
        if verb == "load" and name == ABSENT:
            return httpx.Response(400, text="No OpenAIService provider found for modelName")
        if not self.forgetful:
            match verb:
                case "load":
                    self.loaded.add(name)
                case "unload":
                    self.loaded.discard(name)
                case _:
                    self.loaded.clear()
        return httpx.Response(200)

    def download(self, model: dict[str, Any]) -> httpx.Response:
        assert model["ProviderType"] == "AzureFoundryLocal", "the SDKs append Local to what the catalogue says"
        if model["Name"] not in {each["name"] for each in self.catalogue}:
            return downloaded({"success": False, "errorMessage": "not in catalog"})
        return downloaded(
            {"success": True, "errorMessage": None}, "Total 0.00% ...", "Total 45.67% ...", "Total 100% ..."
        )


def downloaded(result: dict[str, Any], *progress: str) -> httpx.Response:
    return httpx.Response(200, text="\n".join([*progress, json.dumps(result)]))


def chat(*, streamed: bool = False, place: str = "message", reason: str | None = "stop") -> httpx.Response:
    choice = {"index": 0, place: {"role": "assistant", "content": "A promise."}, "finish_reason": reason}
    whole = {"id": "chat.id.1", "object": "chat.completion", "choices": [choice], "IsDelta": streamed}
    if not streamed:
        return httpx.Response(200, json=whole)
    events = f"data: {json.dumps(whole)}\n\ndata: [DONE]\n\n"
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=events)


class StandIn:
    """The daemon as a subject of `verify`."""

    way = "live"

    def __init__(self, daemon: Daemon, version: str = "0.8.120") -> None:
        self.runtime = Runtime("foundry-local", version)
        self.offers = frozenset({"chat", "not-downloaded", OWN})
        self.daemon = daemon

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        del contract
        models = {
            "chat": ServedModel("phi-4-mini", CHAT),
            "not-downloaded": ServedModel("qwen2.5-0.5b", ABSENT),
        }
        yield Opened(httpx.MockTransport(self.daemon), "http://127.0.0.1:5273", time.monotonic, models)


def judged(name: str, daemon: Daemon) -> Outcome:
    return verify([CONTRACTS[name]], StandIn(daemon), ledger=[]).outcomes[0]


def flawed(path: str, answer: httpx.Response) -> Callable[[], Daemon]:
    return lambda: Daemon(flaws={path: answer})


def unsorted() -> Daemon:
    daemon = Daemon()
    daemon.catalogue.reverse()
    return daemon


FLAWS: Final[dict[str, Callable[[], Daemon]]] = {
    "legacy.tells_its_state": flawed("/openai/status", httpx.Response(200, json={"Endpoints": []})),
    "legacy.lists_the_catalogue": flawed("/foundry/list", httpx.Response(200, json={"models": [{"name": "phi"}]})),
    "legacy.lists_the_best_variant_first": unsorted,
    "legacy.lists_what_is_downloaded": flawed("/openai/models", httpx.Response(200, json=[])),
    "legacy.lists_what_is_loaded": lambda: Daemon(loaded=set()),
    "legacy.loads_and_unloads": lambda: Daemon(forgetful=True),
    "legacy.loading_again_changes_nothing": flawed("/openai/load/", httpx.Response(409)),
    "legacy.unloading_again_changes_nothing": flawed("/openai/unload/", httpx.Response(404)),
    "legacy.unloads_everything": lambda: Daemon(forgetful=True),
    "legacy.says_that_a_model_is_not_downloaded": flawed("/openai/load/", httpx.Response(500)),
    "legacy.downloads_again_what_is_there": flawed(
        "/openai/download", downloaded({"success": True}, "Total 50% ...", "Total 10% ...")
    ),
    "legacy.says_why_a_download_failed": flawed("/openai/download", downloaded({"success": False, "errorMessage": ""})),
    "legacy.says_which_gpu_it_uses": flawed("/openai/getgpudevice", httpx.Response(200, json="none")),
    "legacy.may_be_told_which_gpu_to_use": flawed("/openai/setgpudevice", httpx.Response(500)),
    "legacy.counts_tokens": flawed("/v1/chat/completions/tokenizer", httpx.Response(404)),
    "legacy.answers_a_chat_with_a_message": flawed("/v1/chat/completions", chat(place="delta")),
    "legacy.says_why_a_stream_ended": flawed("/v1/chat/completions", chat(streamed=True, reason=None)),
}


def test_every_contract_about_the_old_service_has_a_flaw_here_that_breaks_it() -> None:
    """A contract that nothing can break promises nothing."""
    assert set(FLAWS) == set(CONTRACTS)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_service_as_it_is_documented_keeps(name: str) -> None:
    outcome = judged(name, Daemon())
    assert (outcome.verdict, outcome.reason) == (Verdict.HELD, "")


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_service_with_this_one_flaw_breaks(name: str) -> None:
    outcome = judged(name, FLAWS[name]())
    assert outcome.verdict is Verdict.BROKEN
    assert re.search(r"[a-z]", outcome.reason), "it says what was found"


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_leaves_the_model_loaded_that_was_loaded(name: str) -> None:
    """Others use the same service."""
    daemon = Daemon()
    judged(name, daemon)
    assert daemon.loaded == {CHAT}


def test_a_catalogue_is_read_without_the_object_around_it_too() -> None:
    """The documentation wraps the list, and the SDKs of 0.3 to 0.5 read a bare one."""
    assert judged("legacy.lists_the_catalogue", Daemon(wrapped=False)).verdict is Verdict.HELD


@pytest.mark.parametrize("version", ["1.2.4", "2.0.1", "2.2.1"])
def test_newer_services_are_not_asked_for_it(version: str) -> None:
    """They have no such routes, and that is no fault of theirs."""
    outcomes = verify(CONTRACTS.values(), StandIn(Daemon(), version), ledger=[]).outcomes
    assert {outcome.verdict for outcome in outcomes} == {Verdict.OUTSIDE}


@pytest.mark.parametrize(
    ("name", "version", "issue"),
    [
        ("legacy.says_why_a_stream_ended", "0.8.101", 299),
        ("legacy.says_why_a_stream_ended", "0.8.119", 299),
        ("legacy.answers_a_chat_with_a_message", "0.8.117", 383),
    ],
)
def test_the_ledger_knows_what_releases_were_reported_for(name: str, version: str, issue: int) -> None:
    """Agents waited for ever for the reason that never came, and clients looked for a message in vain."""
    outcome = verify([CONTRACTS[name]], StandIn(FLAWS[name](), version)).outcomes[0]
    assert outcome.verdict is Verdict.DEVIATES
    assert outcome.deviation is not None
    assert outcome.deviation.link.endswith(f"/{issue}")


def test_each_line_of_the_ledger_about_the_old_service_is_shown_here() -> None:
    """There are no tapes that could show it."""
    lines = {(line.contract, line.link.rpartition("/")[2]) for line in deviations() if line.contract in CONTRACTS}
    assert lines == {("legacy.says_why_a_stream_ended", "299"), ("legacy.answers_a_chat_with_a_message", "383")}
