"""Who is asked to keep the contracts: a server that runs, or the tapes of one."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol, Self

import httpx
from packaging.version import Version

from resilient_foundry.foundry.generations import Generation, generation_of
from resilient_foundry.foundry.runtime import BUILTIN_MODELS, LocalRuntime, ServedModel
from resilient_foundry.foundry.wire import items, mapping
from resilient_foundry.harness.contract import ALONE, OWN, Contract
from resilient_foundry.harness.evidence import Exchange
from resilient_foundry.harness.tapes import Tape, player
from resilient_foundry.harness.tapes.normalise import REQUEST_HEADERS
from resilient_foundry.harness.tapes.tape import HOST
from resilient_foundry.harness.verdict import Runtime
from resilient_foundry.testing import VirtualTime

PRODUCT: Final = "foundry-local"
CHAT: Final = "chat"
"""The part of the model that contracts about chats talk to; the other parts bear the aliases of built-in models."""
LATEST: Final = {Generation.ZERO: "0.9", Generation.ONE: "1.2.4", Generation.TWO: "2.2.1"}
"""A server does not say its version; unless somebody knows it, it is taken for the last that is known."""
_TELLING: Final = REQUEST_HEADERS - {"host", "user-agent"}
"""By these headers requests on a tape are told apart; where a tape is played there is another host."""
_STATUS_SECONDS: Final = 10.0
_ROLES: Final = {"resilience": CHAT}


class NotRecordedError(Exception):
    """There is no tape of a contract."""


class UnreachableError(Exception):
    """No server answers, or it is no Foundry Local; the message says which."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A way to the server for one contract: transport, address, clock, and the models by the part they play."""

    transport: httpx.BaseTransport
    base_url: str
    clock: Callable[[], float]
    models: Mapping[str, ServedModel]
    unused: Callable[[], tuple[Exchange, ...]] = tuple
    """What the contract ought to have asked for and did not; asked at its end."""
    sleep: Callable[[float], None] = time.sleep
    """Lets so many seconds pass on that clock."""


class Subject(Protocol):
    """A runtime as `verify` sees it."""

    @property
    def runtime(self) -> Runtime:
        """What it is."""
        ...

    @property
    def way(self) -> str:
        """How it is asked: "tapes" or "live"."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """The parts that its models can play, and what may be done to it."""
        ...

    def open(self, contract: Contract) -> contextlib.AbstractContextManager[Opened]:
        """A way to it for one contract; raises `NotRecordedError` where there is none."""
        ...


class Taped:
    """The tapes of a folder such as cassettes/foundry-local-2.2.1: offline, and in the time of a virtual clock."""

    way = "tapes"

    def __init__(self, folder: Path) -> None:
        product, _, version = folder.name.rpartition("-")
        if not folder.is_dir() or not product:
            raise ValueError(f"{folder} is no folder of tapes; it takes one such as cassettes/{PRODUCT}-2.2.1")
        self.folder = folder
        self.runtime = Runtime(product, version, folder.name)
        self.offers = frozenset({*roles(), OWN, ALONE})

    def path(self, contract: Contract) -> Path:
        """Where the tape of a contract stands, whether or not there is one."""
        area, _, name = contract.name.partition(".")
        return self.folder / area / f"{name}.yaml"

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        """Its tape, ready to be played."""
        path = self.path(contract)
        if not path.exists():
            raise NotRecordedError(f"there is no tape {path.relative_to(self.folder.parent)}")
        clock = VirtualTime()
        playing = player(Tape.load(path).exchanges, clock=clock, headers=_TELLING)
        yield Opened(playing, f"http://{HOST}", clock, _served(), lambda: playing.reel.unused, clock.pass_)


def taped(folder: Path) -> tuple[Taped, ...]:
    """The tapes of each runtime in a folder such as cassettes, oldest version first; or those of the one that it is.

    Raises `ValueError` where there are none.
    """
    if any(folder.glob("*/*.yaml")):
        return (Taped(folder),)
    found = [Taped(each) for each in folder.glob("*-*") if any(each.glob("*/*.yaml"))]
    if not found:
        raise ValueError(f"{folder} holds no tapes; it takes a folder such as cassettes, or cassettes/{PRODUCT}-2.2.1")
    return tuple(sorted(found, key=lambda each: (each.runtime.product, Version(each.runtime.version))))


class Live:
    """A server that runs somewhere, and is not ours: nothing is loaded, unloaded or shut down unless `may_change`.

    `models` say by id or alias who plays which part; without a chat model among them it is the first one loaded that
    plays no other. 2.x loads by alias alone, and does not tell it: name by its alias what may be loaded there.
    `version` is what its owner says that it is. Raises `UnreachableError`, also later, where it answers no more.
    """

    way = "live"

    def __init__(
        self,
        url: str,
        *,
        version: str | None = None,
        models: Mapping[str, str] | None = None,
        may_change: bool = False,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        generation, loaded = _look(self.url)
        self.runtime = Runtime(PRODUCT, version or LATEST[generation], self.url)
        served = {role: _served_as(name, loaded) for role, name in (models or {}).items()}
        taken = {model.id for model in served.values()}
        idle = next((name for name in loaded if name not in taken), None)
        if CHAT not in served and idle is not None:
            served[CHAT] = _served_as(idle, loaded)
        self._models = served
        self.offers: frozenset[str] = frozenset([*self._models, *([OWN] if may_change else [])])
        self._asked_last: str | None = None

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        """A connection of its own for each contract."""
        if not _is_there(self.url):
            since = f" since {self._asked_last} was asked" if self._asked_last else ""
            raise UnreachableError(f"{self.url} answers no more{since}; look at the server, and verify again")
        self._asked_last = contract.name
        with _transport() as transport:
            yield Opened(transport, self.url, time.monotonic, self._models)


class Started:
    """The real runtime of one version, started here with every built-in model, and ended with the block.

    `python` is the interpreter that has that version. A contract that endangers the server gets one of its own, and
    where the server has died, the next contract gets a new one.
    """

    way = "live"

    def __init__(self, version: str, *, python: str | os.PathLike[str] = sys.executable) -> None:
        self._python = python
        self._local = self._make()
        self.runtime = Runtime(PRODUCT, version)
        self.offers = frozenset({*roles(), OWN, ALONE})

    def __enter__(self) -> Self:
        self._local.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._local.close()

    @property
    def url(self) -> str:
        """Where it serves now."""
        return self._local.url

    @contextmanager
    def open(self, contract: Contract) -> Generator[Opened]:
        """A connection of its own for each contract, and a process where it asks for one."""
        if ALONE in contract.needs:
            with self._make() as alone, _transport() as transport:
                yield Opened(transport, alone.url, time.monotonic, _served())
            return
        if not _answers(self._local.url):
            self._local.close()
            self._local.start()
        with _transport() as transport:
            yield Opened(transport, self._local.url, time.monotonic, _served())

    def _make(self) -> LocalRuntime:
        return LocalRuntime(*BUILTIN_MODELS, python=self._python)


def roles() -> tuple[str, ...]:
    """The parts that built-in models play, in order."""
    return tuple(_served())


def _served() -> dict[str, ServedModel]:
    return {_ROLES.get(each.alias, each.alias): ServedModel(each.alias, each.id) for each in BUILTIN_MODELS}


def _look(url: str) -> tuple[Generation, list[str]]:
    """The generation of the server there, and the models in its memory."""
    try:
        with httpx.Client(base_url=url, timeout=_STATUS_SECONDS, trust_env=False) as client:
            answer = client.get("/status")
            status = mapping(answer.json()) if answer.is_success else None
            generation = None if status is None else generation_of(status)
            if generation is not None:
                return generation, _names(client.get("/models/loaded"))
            if _is_older(client.get("/openai/status")):
                return Generation.ZERO, _names(client.get("/openai/loadedmodels"))
            raise UnreachableError(
                f"what answers at {url} is no Foundry Local (GET /status: {answer.status_code}); "
                "name the URL that `foundry server status` shows, or start one with `resilient-foundry serve`"
            )
    except (httpx.TransportError, ValueError) as error:
        raise UnreachableError(
            f"nothing usable answers at {url} ({str(error) or type(error).__name__}); "
            "is Foundry Local running, and is that its present port?"
        ) from error


def _names(answer: httpx.Response) -> list[str]:
    """The names in a list of models; `ValueError` for what is no such list."""
    names = items(answer.json())
    if names is None or not all(isinstance(name, str) for name in names):
        raise ValueError(f"GET {answer.request.url.path} gives no list of names")
    return [str(name) for name in names]


def _is_older(answer: httpx.Response) -> bool:
    """Whether this is the state of a 0.x service; documentation and SDKs don't agree about capitals."""
    state = mapping(answer.json()) if answer.is_success else None
    return state is not None and "endpoints" in {name.lower() for name in state}


def _transport() -> httpx.HTTPTransport:
    return httpx.HTTPTransport(verify=_tls())


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates of the world takes longer than most contracts, and hardly any needs them."""
    return httpx.create_ssl_context()


def _is_there(url: str) -> bool:
    """Whether anything answers, whatever it says: 0.x knows no /status."""
    try:
        httpx.get(f"{url}/status", timeout=_STATUS_SECONDS, trust_env=False, verify=_tls())
    except httpx.TransportError as error:
        return isinstance(error, httpx.ReadTimeout)  # it is busy, and there
    return True


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/status", timeout=_STATUS_SECONDS, trust_env=False, verify=_tls()).is_success
    except httpx.TransportError:
        return False


def _served_as(name: str, loaded: Sequence[str]) -> ServedModel:
    """The model of an id or an alias. The id of an alias is the one in memory whose name is it, or begins with it."""
    if ":" in name:
        return ServedModel(_name(name), name)
    found = (each for each in loaded if _name(each) == name or each.startswith(f"{name}-"))
    return ServedModel(name, next(found, name))


def _name(identity: str) -> str:
    """An id without its version."""
    return identity.partition(":")[0]
