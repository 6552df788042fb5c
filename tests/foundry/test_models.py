"""Models by alias, name or id on both generations, and when they are loaded and unloaded."""

from __future__ import annotations

import threading

import pytest

from resilient_foundry.foundry import (
    LoadFailedError,
    ModelBusyError,
    ModelNotCachedError,
    ModelNotFoundError,
    ModelNotLoadedError,
)
from tests.foundry.conftest import Connect
from tests.foundry.servers import Answer, One, Two, delta, events, fault

PHI = "phi-4-mini-instruct-cpu:1"
REASONING = "phi-4-mini-reasoning-cpu:2"


def test_2_is_asked_by_id_for_an_alias(connect: Connect) -> None:
    """2.x takes nothing but the exact id for a chat, so the alias is made definite first."""
    server = Two()
    assert connect(server).complete("hi", model="phi-4-mini").content == "To be"
    assert server.chat_bodies[0]["model"] == PHI
    assert "GET /models/load/phi-4-mini" in server.asked


def test_an_alias_is_made_definite_once(connect: Connect) -> None:
    """What was learned is kept: the second chat is one request."""
    server = Two()
    client = connect(server, model="phi-4-mini")
    client.complete("hi")
    before = len(server.seen)
    client.complete("hi")
    assert server.asked[before:] == ["POST /v1/chat/completions"]


def test_an_id_passes_as_it_is(connect: Connect) -> None:
    """Ids of models that no catalog knows work too."""
    server = Two(loaded=[PHI])
    connect(server).complete("hi", model=PHI)
    assert server.asked == ["GET /status", "POST /v1/chat/completions"]


def test_a_name_without_its_version_is_the_newest(connect: Connect) -> None:
    """The name of a model is exact but for its version."""
    server = Two(models={"a": "qwen-cpu:9", "b": "qwen-cpu:10"}, loaded=["qwen-cpu:10"])
    connect(server).complete("hi", model="qwen-cpu")
    assert server.chat_bodies[0]["model"] == "qwen-cpu:10"


def test_an_alias_is_not_guessed_from_a_prefix(connect: Connect) -> None:
    """The one loaded model whose name begins with the alias is another model here."""
    server = Two(models={"phi-4-mini": PHI, "phi-4-mini-reasoning": REASONING}, loaded=[REASONING])
    connect(server).complete("hi", model="phi-4-mini")
    assert server.chat_bodies[0]["model"] == PHI


def test_an_alias_that_stays_ambiguous_names_the_candidates(connect: Connect) -> None:
    """Two loaded models, and nothing that says which one the alias means."""
    server = Two(models={"x": "one:1", "y": "two:1"}, loaded=["one:1", "two:1"])
    with pytest.raises(ModelNotFoundError, match=r"which of one:1, two:1 it is: pass the exact id"):
        connect(server).complete("hi", model="x")


def test_the_caller_may_say_what_an_alias_means(connect: Connect) -> None:
    """`aliases` spares every question."""
    server = Two(models={"x": "one:1", "y": "two:1"}, loaded=["one:1", "two:1"])
    connect(server, aliases={"x": "one:1"}).complete("hi", model="x")
    assert server.asked == ["GET /status", "POST /v1/chat/completions"]


def test_an_unknown_alias_is_told_what_there_is(connect: Connect) -> None:
    """One sentence that helps to find the right name."""
    with pytest.raises(ModelNotFoundError, match="knows no model 'nope'; it has phi-4-mini-instruct-cpu:1") as caught:
        connect(Two()).complete("hi", model="nope")
    assert caught.value.status == 404


def test_an_empty_catalog_is_told_apart(connect: Connect) -> None:
    """2.x started offline knows no models at all, for hours; that is not the name's fault."""
    with pytest.raises(ModelNotFoundError, match="its catalog is empty"):
        connect(Two(models={})).load_model("phi-4-mini")


def test_1_is_asked_by_whatever_name(connect: Connect) -> None:
    """1.x understands alias, name and id, so nothing is looked up."""
    server = One(loaded=[PHI])
    connect(server).complete("hi", model="phi-4-mini")
    assert server.asked == ["GET /status", "POST /v1/chat/completions"]
    assert server.chat_bodies[0]["model"] == "phi-4-mini"


@pytest.mark.parametrize("make", [One, Two])
def test_a_model_that_is_not_loaded_says_what_to_do(connect: Connect, make: type[One | Two]) -> None:
    """The remedy stands in the sentence."""
    with pytest.raises(ModelNotLoadedError, match="call load_model first") as caught:
        connect(make()).complete("hi", model=PHI)
    assert caught.value.status == 400


@pytest.mark.parametrize("make", [One, Two])
@pytest.mark.parametrize("name", ["phi-4-mini", PHI])
def test_a_model_is_loaded_and_unloaded_by_alias_or_id(connect: Connect, make: type[One | Two], name: str) -> None:
    """The same calls on both generations."""
    server = make()
    client = connect(server, aliases={"phi-4-mini": PHI})
    states = [client.load_model(name), client.load_model(name), client.unload_model(name), client.unload_model(name)]
    assert [result.state for result in states] == ["loaded", "already_loaded", "unloaded", "not_loaded"]
    assert states[0].id == PHI
    assert server.loaded == []


def test_an_id_is_loaded_through_the_longest_alias_that_fits(connect: Connect) -> None:
    """2.x loads by alias only; a shorter prefix may be another model's alias, so the longest is tried first."""
    server = Two(models={"phi-4-mini": PHI, "phi-4-mini-reasoning": REASONING})
    assert connect(server).load_model(REASONING).id == REASONING
    assert server.loaded == [REASONING]


def test_another_variant_than_the_one_asked_for_is_an_error(connect: Connect) -> None:
    """2.x picks the variant of an alias itself: an id that was asked for by name must not turn into another."""
    server = Two(models={"phi": "phi-cpu:1"})
    with pytest.raises(LoadFailedError, match="'phi-gpu:1' was asked for, and the service loaded 'phi-cpu:1'"):
        connect(server).load_model("phi-gpu:1")


def test_an_id_whose_alias_nobody_knows_is_an_error(connect: Connect) -> None:
    """Nothing in its name fits any alias."""
    server = Two(models={"script": "scripted:1"})
    with pytest.raises(ModelNotFoundError, match="by alias only, and the alias of 'scripted:1' is not known"):
        connect(server).load_model("scripted:1")


def test_a_name_is_raw_in_the_path(connect: Connect) -> None:
    """2.x never decodes %3A, and the libraries leave a colon alone."""
    server = One()
    connect(server).load_model(PHI)
    assert f"GET /models/load/{PHI}" in server.asked


def test_a_model_that_1_has_not_downloaded_is_not_asked_for(connect: Connect) -> None:
    """1.x would answer an empty 500, three times."""
    server = One()
    with pytest.raises(ModelNotCachedError, match=r"not among the models on the service's disk \(phi-4-mini\)"):
        connect(server).load_model("llama")
    assert not [line for line in server.asked if "/load/" in line]


def test_an_empty_500_of_1_is_a_failed_load(connect: Connect) -> None:
    """Its only word for whatever went wrong."""
    server = One(script={"/models/load/phi-4-mini": [Answer(500, b"", None)]})
    with pytest.raises(LoadFailedError, match="could not load 'phi-4-mini', and gave no reason"):
        connect(server).load_model("phi-4-mini")


def test_1_tries_the_load_when_its_catalog_is_out(connect: Connect) -> None:
    """Without a list nothing can be known before."""
    server = One(script={"/v1/models": [fault(500, "catalog")] * 3})
    assert connect(server).load_model("phi-4-mini").state == "loaded"


def test_not_downloaded_is_told_by_2(connect: Connect) -> None:
    """400 with words."""
    server = Two(script={"/models/load/phi-4-mini": [fault(400, "Model not cached: phi-4-mini")]})
    with pytest.raises(ModelNotCachedError, match="download it first"):
        connect(server).load_model("phi-4-mini")


def test_the_list_says_what_is_loaded(connect: Connect) -> None:
    """One list from two questions."""
    (model,) = connect(One(loaded=[PHI])).list_models()
    assert (model.id, model.name, model.alias, model.loaded) == (
        "phi-4-mini-instruct-cpu",
        "phi-4-mini-instruct-cpu",
        "phi-4-mini",
        True,
    )
    (model,) = connect(Two()).list_models()
    assert (model.id, model.version, model.loaded) == (PHI, "1", False)


def test_unloading_waits_for_a_running_answer(connect: Connect) -> None:
    """Unloading under a running answer corrupts 2.x, so the unload is not sent before the stream is over."""
    server = Two(loaded=[PHI], chats=[events(delta("a"), delta("b"), delta("", "stop"))])
    client = connect(server, aliases={"phi-4-mini": PHI})
    stream = client.stream_complete("hi", model="phi-4-mini")
    next(stream)
    unloading = threading.Thread(target=client.unload_model, args=("phi-4-mini",))
    unloading.start()
    assert "GET /models/unload/phi-4-mini" not in server.asked
    assert "".join(chunk.content for chunk in stream) == "b"
    unloading.join(10)
    assert server.asked[-1] == "GET /models/unload/phi-4-mini"


@pytest.mark.parametrize("name", ["phi-4-mini", PHI])
@pytest.mark.parametrize("make", [One, Two])
def test_unloading_gives_up_on_an_answer_that_goes_on(connect: Connect, make: type[One | Two], name: str) -> None:
    """Also when the two go by different names of the model."""
    server = make(loaded=[PHI], chats=[events(delta("a"), delta("b", "stop"))])
    client = connect(server)
    with client.stream_complete("hi", model=PHI) as stream:
        next(stream)
        with pytest.raises(ModelBusyError, match=r"still ran on it after 0\.01 s"):
            client.unload_model(name, wait=0.01)
    assert client.unload_model("phi-4-mini", wait=0.01).state == "unloaded"


def test_a_stream_that_was_left_without_a_with_block_does_not_hold_the_model(connect: Connect) -> None:
    """`break` out of a loop drops the stream, and with it its claim."""
    server = Two(loaded=[PHI], chats=[events(delta("a"), delta("b", "stop"))])
    client = connect(server, model=PHI)
    stream = client.stream_complete("hi")
    next(stream)
    with pytest.warns(ResourceWarning, match="use it in a `with` block"):
        del stream
    assert client.unload_model("phi-4-mini", wait=0.01).state == "unloaded"
