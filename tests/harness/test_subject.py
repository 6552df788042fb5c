"""Who is asked to keep the contracts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from resilient_foundry.harness import ALONE, OWN
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.subject import (
    Live,
    NotRecordedError,
    Started,
    Subject,
    Taped,
    UnreachableError,
    roles,
    taped,
)
from resilient_foundry.harness.tapes import Tape
from resilient_foundry.harness.verdict import Verdict
from resilient_foundry.harness.verify import verify
from tests.harness.subjects import SENT, STATUS, exchange, pages, promise
from tests.servers import Server, closed_port, replies

LOADED = ["resilience-generic-cpu:1", "embedding-generic-cpu:1"]


def test_a_live_server_is_known_by_its_status() -> None:
    with Server(pages(status=STATUS, models_loaded=LOADED)) as server:
        live = Live(server.url + "/v1/")
    assert (str(live.runtime), live.runtime.where, live.way) == ("foundry-local 2.2.1", server.url, "live")
    assert live.offers == {"chat"}


def test_a_server_of_generation_1_is_taken_for_its_last_version() -> None:
    with Server(pages(status={"endpoints": [], "modelDirPath": "/m", "pipeName": None}, models_loaded=[])) as server:
        assert (Live(server.url).runtime.version, Live(server.url).offers) == ("1.2.4", frozenset())
        assert Live(server.url, version="1.0.0").runtime.version == "1.0.0"


def test_a_service_of_generation_0_is_asked_what_it_promises() -> None:
    """It has no /status, and lists under another path what is in its memory."""
    with Server(
        pages(openai_status={"endpoints": []}, openai_loadedmodels=["phi-4-mini-instruct-generic-cpu"])
    ) as server:
        live = Live(server.url)
        (listed,) = verify(collect(provided("contracts"), only=["legacy.lists_what_is_loaded"]), live).outcomes
    assert (live.runtime.version, listed.verdict) == ("0.9", Verdict.HELD)


def test_a_server_that_is_not_ours_is_not_ours_to_change() -> None:
    """A contract that ends the server is never asked of it, whoever allows what."""
    with Server(pages(status=STATUS, models_loaded=[])) as server:
        assert not Live(server.url).offers & {OWN, ALONE}
        assert Live(server.url, may_change=True).offers & {OWN, ALONE} == {OWN}


def test_the_models_that_play_the_parts_may_be_named() -> None:
    with Server(pages(status=STATUS, models_loaded=LOADED)) as server:
        live = Live(server.url, models={"embedding": LOADED[1]})
        with live.open(promise()) as opened:
            assert {role: model.id for role, model in opened.models.items()} == {
                "chat": LOADED[0],
                "embedding": LOADED[1],
            }
            assert opened.models["embedding"].alias == "embedding-generic-cpu"


def test_the_model_for_chats_is_one_that_plays_no_other_part() -> None:
    """An embedding model that was loaded first would break every promise about chats."""
    with Server(pages(status=STATUS, models_loaded=LOADED[::-1])) as server:
        with Live(server.url, models={"embedding": LOADED[1]}).open(promise()) as opened:
            assert opened.models["chat"].id == LOADED[0]
        assert Live(server.url, models=dict(zip(["slow", "embedding"], LOADED, strict=True))).offers == {
            "slow",
            "embedding",
        }


def test_a_model_that_is_named_by_its_alias_is_asked_by_its_id() -> None:
    """2.x loads by alias alone, and answers to ids alone."""
    with Server(pages(status=STATUS, models_loaded=LOADED)) as server:
        models = {"chat": "resilience", "embedding": "embedding-generic-cpu", "slow": "slow"}
        with Live(server.url, models=models, may_change=True).open(promise()) as opened:
            assert {role: (model.alias, model.id) for role, model in opened.models.items()} == {
                "chat": ("resilience", LOADED[0]),
                "embedding": ("embedding-generic-cpu", LOADED[1]),
                "slow": ("slow", "slow"),
            }


@pytest.mark.parametrize("handler", [replies(404), replies(200, b"<html>"), replies(200, b"{}"), replies(200, b"[]")])
def test_what_is_no_foundry_is_refused_in_one_sentence(handler: object) -> None:
    with Server(handler) as server, pytest.raises(UnreachableError, match=server.url) as refused:  # type: ignore[arg-type]  # a handler
        Live(server.url)
    assert "\n" not in str(refused.value)


def test_nobody_at_home_is_said_in_one_sentence() -> None:
    url = closed_port()
    with pytest.raises(UnreachableError, match=f"nothing usable answers at {url} .*is Foundry Local running"):
        Live(url)


@pytest.mark.parametrize("loaded", ["null", "[1]", "[{}]", '"one"'])
def test_a_list_of_models_that_is_none_is_refused_in_one_sentence(loaded: str) -> None:
    """A server that only looks like Foundry Local must not end in a traceback."""
    no_list = pytest.raises(UnreachableError, match="/models/loaded gives no list of names")
    with Server(pages(status=STATUS, models_loaded=json.loads(loaded))) as server, no_list:
        Live(server.url)


def test_a_server_that_has_gone_breaks_no_contract() -> None:
    """What cannot be asked any more is neither broken nor known to deviate."""
    with Server(pages(status=STATUS, models_loaded=LOADED)) as server:
        live = Live(server.url)
        with live.open(promise()):
            pass
    with pytest.raises(UnreachableError, match=r"answers no more since area\.holds was asked"), live.open(promise()):
        pass


@pytest.fixture
def cassettes(tmp_path: Path) -> Path:
    """Tapes of two versions."""
    for version in ("2.2.1", "1.10.0", "1.2.4"):
        Tape((exchange(sent=SENT),)).save(tmp_path / f"foundry-local-{version}" / "area" / "holds.yaml")
    return tmp_path


def test_the_tapes_of_all_runtimes_come_oldest_first(cassettes: Path) -> None:
    """By version, of which 1.10 comes after 1.2."""
    (cassettes / "README.md").touch()
    assert [str(each.runtime) for each in taped(cassettes)] == [
        "foundry-local 1.2.4",
        "foundry-local 1.10.0",
        "foundry-local 2.2.1",
    ]
    assert [each.runtime.version for each in taped(cassettes / "foundry-local-2.2.1")] == ["2.2.1"]


def test_a_folder_without_tapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no tapes; it takes a folder such as cassettes"):
        taped(tmp_path)
    with pytest.raises(ValueError, match="is no folder of tapes"):
        Taped(tmp_path / "foundry-local-2.2.1")


def test_a_tape_plays_on_a_clock_of_its_own(cassettes: Path) -> None:
    subject = Taped(cassettes / "foundry-local-2.2.1")
    with (
        subject.open(promise()) as opened,
        httpx.Client(transport=opened.transport, base_url=opened.base_url) as client,
    ):
        before, began = opened.clock(), time.monotonic()
        assert [each.request.path for each in opened.unused()] == ["/v1/chat/completions"]
        assert client.post("/v1/chat/completions", json={"model": "m"}).json() == {"a": 1}
        assert opened.unused() == ()
        assert opened.clock() - before == pytest.approx(0.03)
        assert time.monotonic() - began < 5
    assert subject.offers == {*roles(), OWN, ALONE}


def test_a_contract_without_a_tape_says_which_file_is_missing(cassettes: Path) -> None:
    subject = Taped(cassettes / "foundry-local-2.2.1")
    with (
        pytest.raises(NotRecordedError, match=r"there is no tape foundry-local-2.2.1/area/other.yaml"),
        subject.open(promise(name="area.other")),
    ):
        pass


def pid_of(subject: Subject, needs: frozenset[str] = frozenset()) -> int:
    """The process that answers."""
    with subject.open(promise(needs=needs)) as opened:
        pid: int = httpx.get(f"{opened.base_url}/status").json()["pid"]
        return pid


def test_a_started_runtime_serves_every_contract_and_gives_a_dangerous_one_a_process_of_its_own() -> None:
    with Started("2.2.1") as started:
        first = pid_of(started)
        assert pid_of(started) == first
        assert pid_of(started, frozenset({ALONE})) != first
        assert started.offers == {*roles(), OWN, ALONE}
        httpx_error: type[Exception] = httpx.TransportError
        with pytest.raises(httpx_error):  # noqa: PT012 - it answers or it does not; either way it is gone afterwards
            httpx.post(f"{started.url}/shutdown")
            raise httpx.ReadError("it answered")
        assert pid_of(started) != first
