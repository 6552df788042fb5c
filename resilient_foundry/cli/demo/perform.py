"""The whole demo: the real runtime, the proxy before it, every scene in turn, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from resilient_foundry.cli.demo.play import Faults, Played, Stage, absorbed
from resilient_foundry.cli.demo.scenes import SCENES, Scene
from resilient_foundry.cli.demo.show import Screen
from resilient_foundry.cli.output import print_json
from resilient_foundry.cli.telemetry import Telemetry, collected, link_to
from resilient_foundry.foundry.runtime import LocalRuntime
from resilient_foundry.harness.proxy import FaultProxy
from resilient_foundry.policies.tracing import Tracing


def run(*, as_json: bool, scenes: Sequence[Scene] = SCENES, otlp: str | None = None) -> int:
    """Play all scenes; 0 when every chat was answered, 1 when one was lost."""
    began = time.perf_counter()
    screen = Screen(quiet=as_json)
    with collected(otlp) as telemetry:
        with telemetry.part("demo") if telemetry is not None else nullcontext():
            played = _play(scenes, screen, telemetry)
        told = _report(played, time.perf_counter() - began, telemetry)
        if telemetry is not None and telemetry.trace_ids:
            trace_id = telemetry.trace_ids[-1]
            told |= {"trace_id": trace_id, "trace_url": link_to(telemetry, trace_id)}
    if as_json:
        print_json(told)
    else:
        screen.close(told, played)
    return 1 if told["lost"] else 0


def _play(scenes: Sequence[Scene], screen: Screen, telemetry: Telemetry | None) -> list[Played]:
    faults = Faults()
    played: list[Played] = []
    tracing = Tracing()
    if telemetry is not None:
        tracing = Tracing(tracer_provider=telemetry.provider, meter_provider=telemetry.meters)
    with LocalRuntime() as runtime, FaultProxy(runtime.url, faults) as proxy:
        served = runtime.models[0]
        screen.open(
            f"The real Foundry Local runs on {runtime.url} (process {runtime.pid}), model {served.alias}.",
            f"Before it stands {proxy.url}, which breaks connections on purpose.",
        )
        with Stage(proxy, served.id, tracing, screen.happened).open() as stage, screen.live():
            for number, scene in enumerate(scenes, 1):
                faults.set(scene)
                screen.begin(f"chat {number} of {len(scenes)}", scene, stage)
                result = stage.play(scene, screen.answer, screen.again)
                screen.end(result)
                played.append(result)
    return played


def _report(played: Sequence[Played], seconds: float, telemetry: Telemetry | None) -> dict[str, Any]:
    lost = sum(not each.answered for each in played)
    kinds = absorbed(played)
    return {
        "asked": len(played),
        "answered": len(played) - lost,
        "lost": lost,
        "attempts": sum(each.attempts for each in played),
        "faults": kinds,
        "fault_kinds": len(kinds),
        "seconds_waited": round(sum(each.waited for each in played), 3),
        "seconds": round(seconds, 3),
        "spans": _counted(telemetry) if telemetry else None,
        "chats": [
            {
                "fault": each.scene.fault,
                "streamed": each.scene.streamed,
                "answered": each.answered,
                "attempts": each.attempts,
                "asked_again": each.rounds - 1,
                "seconds_waited": round(each.waited, 3),
                "delivered_before_break": each.delivered_before_break,
            }
            for each in played
        ],
    }


def _counted(telemetry: Telemetry) -> dict[str, int]:
    """The spans of the chats; questions to the service are traced too, and do not count."""
    calls = [span for span in telemetry.spans if span.name.startswith("chat ")]
    chats = {span.context.span_id for span in calls if span.context is not None}
    attempts = [span for span in telemetry.spans if span.parent is not None and span.parent.span_id in chats]
    return {"calls": len(calls), "attempts": len(attempts)}
