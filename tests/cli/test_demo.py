"""`resilient-foundry demo`: the promise of the project, kept before everybody's eyes."""

from __future__ import annotations

import json
import signal

import pytest

from resilient_foundry.cli import demo
from resilient_foundry.cli.demo.scenes import SCENES, Scene
from resilient_foundry.harness.faults import Answer, Reset
from tests.cli.command import run, started
from tests.cli.test_serve import is_there, processes_of

NO = Answer(400, {"Content-Type": "application/json"}, b'{"error":{"message":"never"}}')


def test_every_chat_is_answered_and_many_kinds_of_faults_are_absorbed() -> None:
    """The whole demo, in a process of its own, well under a minute."""
    ran = run("demo", "--json")
    told = ran.json
    assert (ran.code, ran.err) == (0, "")
    assert (told["asked"], told["answered"], told["lost"]) == (len(SCENES), len(SCENES), 0)
    assert told["fault_kinds"] == len(told["faults"]) == len({scene.fault for scene in SCENES} - {"nothing"}) >= 5
    assert told["attempts"] == told["asked"] + sum(told["faults"].values())
    assert told["spans"]["attempts"] == told["attempts"]
    assert told["seconds"] < 30


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ends_at_once_when_it_is_told_to_and_leaves_nothing_running(number: signal.Signals, code: int) -> None:
    """In the middle, with connections stalled and a runtime at work: no process, and no traceback."""
    with started("demo") as running:
        running.read_until(r"\nok +connection reset")
        children = processes_of(running)
        assert children
        running.send(number)
        ended = running.end()
        assert (ended.code, ended.err) == (code, "")
        assert "asked" not in ended.out.splitlines()[-1]
        assert not any(map(is_there, children))


def test_a_chat_that_is_lost_is_counted_and_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that says no as often as it is asked: nothing can absorb that, and nobody pretends."""
    scenes = (Scene("refused for good", streamed=False, faults=(NO,) * 100), Scene("nothing", streamed=True))
    assert demo.run(as_json=True, scenes=scenes) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["asked"], told["answered"], told["lost"]) == (2, 1, 1)
    assert [chat["answered"] for chat in told["chats"]] == [False, True]
    assert told["faults"] == {}


def test_the_lines_of_the_demo_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns; a lost chat and one that was answered at the second attempt can be told apart at a glance."""
    scenes = (
        Scene("connection reset", streamed=False, faults=(Reset(),)),
        Scene("refused for good", streamed=False, faults=(NO,) * 100),
    )
    assert demo.run(as_json=False, scenes=scenes) == 1
    lines = capsys.readouterr().out.splitlines()
    shown = lines[lines.index("") + 1 : lines.index("", lines.index("") + 1)]
    assert [line.split()[0] for line in shown[1:]] == ["ok", "lost"]
    assert max(map(len, shown)) <= 80
    assert "asked 2, answered 1, lost 1" in "\n".join(lines)


def test_a_demo_in_which_everything_is_lost_still_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to tell about answers when there are none."""
    assert demo.run(as_json=False, scenes=(Scene("refused for good", streamed=True, faults=(NO,) * 100),)) == 1
    assert "answered 0, lost 1" in capsys.readouterr().out


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.fault}-{scene.streamed}")
def test_what_is_told_of_a_scene_fits_its_column(scene: Scene) -> None:
    """The name of a fault is never longer than its column."""
    assert len(scene.fault) <= 28
