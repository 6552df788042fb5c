"""Contracts as items of pytest, for its options `--foundry-url`, `--foundry-runtime` and `--foundry-tapes`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from os import PathLike
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import pytest

from resilient_foundry._extras import MissingExtraError
from resilient_foundry.foundry.deviations import deviations
from resilient_foundry.foundry.errors import FoundryError
from resilient_foundry.foundry.runtime import RuntimeStartError
from resilient_foundry.foundry.settings import url as base_url_of
from resilient_foundry.harness.contract import Contract, collect, provided
from resilient_foundry.harness.report.text import of_body, visible
from resilient_foundry.harness.runtimes import RuntimeNotInstalledError, interpreter
from resilient_foundry.harness.subject import Live, Started, Subject, UnreachableError, taped
from resilient_foundry.harness.verdict import Outcome, Verdict
from resilient_foundry.harness.verify import judge

_REFUSED = (FoundryError, MissingExtraError, OSError, RuntimeNotInstalledError, UnreachableError, ValueError)

_LONGEST: Final = 1500
"""Characters of a body that a failure shows."""


class NotKeptError(Exception):
    """A contract that somebody must look at; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Contracts:
    """The plugin of one run: what is collected, and who is asked.

    Arguments such as contracts/chat.py::answers_in_one_object are taken from those of the run. Raises
    `pytest.UsageError` where nobody can be asked.
    """

    def __init__(self, config: pytest.Config) -> None:
        own: str | None = config.getoption("foundry_contracts")
        try:
            folder = provided("contracts") if own is None else Path(own)
            self._contracts = collect(folder)
            self._folder = folder.resolve().name
            _give_back(config, self._folder)
            self._subjects = tuple(_subjects(config))
        except _REFUSED as error:
            raise pytest.UsageError(str(error)) from error
        ours = [each for each in config.args if each.partition("/")[0] == self._folder]
        config.args = [each for each in config.args if each not in ours]
        self._wanted = tuple(each.rstrip("/") for each in ours)
        self._open = ExitStack()
        self._started: set[Subject] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the contracts to whatever else the run collects."""
        report = yield
        if isinstance(collector, pytest.Session):
            report.result += list(self._files(collector))
        return report

    def pytest_sessionfinish(self) -> None:
        """End the runtimes that were started."""
        self._open.close()

    def ready(self, subject: Subject) -> Subject:
        """The subject, started if it has to be."""
        if isinstance(subject, Started) and subject not in self._started:
            try:
                self._open.enter_context(subject)
            except (MissingExtraError, OSError, RuntimeStartError) as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            self._started.add(subject)
        return subject

    def _files(self, session: pytest.Session) -> Iterator[_File]:
        for area, contracts in groupby(self._contracts, lambda each: each.area):
            name = f"{self._folder}/{area}.py"
            yield _File.from_parent(  # pyright: ignore[reportUnknownMemberType] - pytest leaves its settings untyped
                session, name=name, nodeid=name, contracts=tuple(contracts), subjects=self._subjects, plugin=self
            )

    def wants(self, nodeid: str) -> bool:
        """Whether the arguments of the run name this item, or name none."""
        return not self._wanted or any(
            nodeid == each or nodeid.startswith((f"{each}/", f"{each}::", f"{each}[")) for each in self._wanted
        )


class _File(pytest.Collector):
    """The contracts of one area."""

    def __init__(
        self, *, contracts: Sequence[Contract], subjects: Sequence[Subject], plugin: Contracts, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._contracts = contracts
        self._subjects = subjects
        self._plugin = plugin

    def collect(self) -> Iterable[_Item]:
        """An item for each contract, and for each runtime where there are several."""
        for subject in self._subjects:
            suffix = f"[{subject.runtime.version}-{subject.way}]" if len(self._subjects) > 1 else ""
            for contract in self._contracts:
                name = contract.name.partition(".")[2] + suffix
                if self._plugin.wants(f"{self.nodeid}::{name}"):
                    yield _Item.from_parent(  # pyright: ignore[reportUnknownMemberType] - pytest leaves it untyped
                        self, name=name, contract=contract, subject=subject, plugin=self._plugin
                    )


class _Item(pytest.Item):
    """One contract and one runtime."""

    def __init__(self, *, contract: Contract, subject: Subject, plugin: Contracts, **settings: Any) -> None:
        super().__init__(**settings)  # pyright: ignore[reportUnknownMemberType] - pytest leaves it untyped
        self._contract = contract
        self._subject = subject
        self._plugin = plugin
        facts = {"contract": contract.name, "level": contract.level.value, "runtime": str(subject.runtime)}
        self.user_properties += facts.items()

    def runtest(self) -> None:
        """Ask. What is known, or nobody relies on, is an expected failure; what can't be asked is skipped."""
        outcome = judge(self._contract, self._plugin.ready(self._subject), deviations())
        said = f"{outcome.verdict.value}: {outcome.reason}"
        if outcome.is_failure:
            raise NotKeptError(outcome)
        if outcome.verdict in {Verdict.BROKEN, Verdict.DEVIATES}:
            pytest.xfail(said)
        if outcome.verdict is not Verdict.HELD:
            pytest.skip(said)

    def reportinfo(self) -> tuple[PathLike[str] | str, int | None, str]:
        """The file and the line of the contract."""
        code = self._contract.check.__code__
        return code.co_filename, code.co_firstlineno - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was promised, and what was found instead; no traceback, since nothing went wrong in a program."""
        if isinstance(excinfo.value, NotKeptError):
            return _told(excinfo.value.outcome, self._subject)
        return super().repr_failure(excinfo, style)


def _give_back(config: pytest.Config, folder: str) -> None:
    """Make an argument of what `--foundry-tapes` took for its folder, if it names a file or an item to be run."""
    taken: str = config.getoption("foundry_tapes") or ""
    if "::" in taken or taken.endswith(".py") or taken.partition("/")[0] == folder:
        config.option.foundry_tapes = ""
        named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
        config.args = [taken, *named]


def _subjects(config: pytest.Config) -> Iterator[Subject]:
    url: str | None = config.getoption("foundry_url")
    version: str | None = config.getoption("foundry_runtime")
    tapes: str | None = config.getoption("foundry_tapes")
    if url is not None:
        may_change = bool(config.getoption("foundry_may_change"))
        yield Live(base_url_of("--foundry-url", url), may_change=may_change)
    if version is not None:
        yield Started(version, python=interpreter(version))
    if tapes is not None:
        yield from taped(Path(tapes) if tapes else provided("cassettes"))


def _told(outcome: Outcome, subject: Subject) -> str:
    contract, culprit = outcome.contract, outcome.culprit
    lines = [
        f"{contract.level.value} {contract.name}, asked of {subject.runtime} ({subject.way})",
        indent(contract.promise, "    "),
        f"{outcome.verdict.value}: {visible(outcome.reason)}",
    ]
    if culprit is not None:
        lines += ["", str(culprit.request), _body(culprit.request.body)]
        if culprit.response is not None:
            lines += [f"{culprit.response.status} {culprit.response.reason}", _body(culprit.response.body)]
    return "\n".join(lines)


def _body(body: bytes) -> str:
    text = of_body(body, _LONGEST)
    return indent(visible(text.shown) + (f" (and {text.left_out} more)" if text.left_out else ""), "    ")
