"""`resilient-foundry record`: tapes from a real runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from resilient_foundry.cli.output import console, errors, print_json, say
from resilient_foundry.foundry.settings import url as base_url_of
from resilient_foundry.harness.contract import collect, provided
from resilient_foundry.harness.record import Fate, Recorded, prune, record
from resilient_foundry.harness.runtimes import interpreter
from resilient_foundry.harness.subject import Live, Started, Subject
from resilient_foundry.harness.verdict import Verdict

_STYLES = {Fate.NEW: "green", Fate.CHANGED: "yellow", Fate.REFUSED: "red", Fate.PRUNED: "yellow"}


def run(
    only: Sequence[str],
    *,
    runtimes: Sequence[str],
    url: str | None,
    into: Path,
    contracts: Path | None,
    pruned: bool,
    as_json: bool,
) -> int:
    """Record; gives the exit code, which is 1 where a tape was refused."""
    if url is not None and len(runtimes) != 1:
        raise ValueError("a server does not say its version, and a tape does: name it with one --runtime beside --url")
    if url is None and not runtimes:
        raise ValueError("name what to record: --runtime 2.2.1, and --url http://127.0.0.1:5273 if it runs already")
    if pruned and only:
        raise ValueError("--prune looks at every contract: name none with it")
    if pruned and contracts is not None and into == Path("cassettes"):
        raise ValueError("--prune with contracts of your own wants --into: cassettes may hold the tapes of others")
    folder = contracts or provided("contracts")
    chosen = collect(folder, only=only)
    done: list[Recorded] = []
    for opened in _subjects(runtimes, url, as_json=as_json):
        with opened as subject:
            if not as_json:
                console.print(f"{subject.runtime}, live", style="bold")
            done += record(chosen, subject, into, on_recorded=_pass_over if as_json else _say)
            slug = subject.runtime.slug
        if pruned:
            removed = prune(chosen, into / slug)
            done += removed
            for each in () if as_json else removed:
                _say(each)
    if as_json:
        print_json([{"tape": _name(each.path), "fate": each.fate.value, "reason": each.reason} for each in done])
    else:
        _sum_up(done)
    return int(any(each.fate is Fate.REFUSED for each in done))


def _subjects(runtimes: Sequence[str], url: str | None, *, as_json: bool) -> Iterable[AbstractContextManager[Subject]]:
    if url is not None:
        yield nullcontext(Live(base_url_of("--url", url), version=runtimes[0]))
        return
    for version in runtimes:
        python = interpreter(version, on_progress=_pass_over if as_json else _say_doing)
        yield Started(version, python=python)


def _pass_over(_: object) -> None:
    """Programs read the end alone."""


def _say_doing(doing: str) -> None:
    say(f"{doing} …", to=errors)


def _name(path: Path) -> str:
    """Folder of the runtime, area and contract."""
    return "/".join(path.parts[-3:])


def _say(recorded: Recorded) -> None:
    if recorded.fate is Fate.UNCHANGED or (recorded.outcome and recorded.outcome.verdict is Verdict.OUTSIDE):
        return  # counted at the end
    text = f"{recorded.fate.value:<10} {_name(recorded.path)}"
    say(f"{text}  {recorded.reason}" if recorded.reason else text, style=_STYLES.get(recorded.fate, "dim"))


def _sum_up(done: Sequence[Recorded]) -> None:
    counts = [(fate, sum(each.fate is fate for each in done)) for fate in Fate]
    say(", ".join(f"{count} {fate.value}" for fate, count in counts if count) or "nothing to record")
