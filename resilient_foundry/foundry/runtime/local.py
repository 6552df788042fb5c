"""The real Foundry Local for the time of a `with` block."""

import os
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

from resilient_foundry.foundry.runtime import catalog
from resilient_foundry.foundry.runtime.builtin import RESILIENCE
from resilient_foundry.foundry.runtime.model import MARKERS, BuiltinModel
from resilient_foundry.foundry.runtime.process import Process, Ready, ServedModel
from resilient_foundry.foundry.runtime.serve import Settings


def _ignore(_percent: float) -> None:
    """Nobody wants to know."""


class LocalRuntime:
    """The real Foundry Local, served on a loopback port by a process of its own.

        with LocalRuntime() as runtime:
            httpx.get(f"{runtime.url}/v1/models")

    Choose it for tests, demonstrations and offline work: built-in models need no download and start in a fraction of a
    second. It works the same with `async with`, on asyncio and on trio. The process ends with the block, with this
    object, with the interpreter, and also when this process is killed; nothing stays on the disk.

    `models` are the built-in models to serve; without any, `RESILIENCE`. `model` is the alias of a model of the real
    catalogue instead, such as "phi-4-mini": the SDK downloads it once, into `cache` or a directory of its own choice
    that is kept, and `on_progress` is told about that in per cent. With `load=False` models are left for the client to
    load. `port` 0 takes one that is free. `start_timeout` is in seconds and begins again with every sign of progress.
    `python` is the interpreter that runs the process, for an environment with another generation of the SDK.

    Raises `ValueError` where settings contradict each other.
    """

    def __init__(
        self,
        *models: BuiltinModel,
        model: str | None = None,
        load: bool = True,
        port: int = 0,
        start_timeout: float = 60.0,
        python: str | os.PathLike[str] = sys.executable,
        cache: str | os.PathLike[str] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        if models and model is not None:
            raise ValueError(f"model is {model!r} and built-in models are given too; a runtime serves either")
        aliases = [each.alias for each in models]
        if len(set(aliases)) < len(aliases):
            raise ValueError(f"two models have the same alias; the aliases are {', '.join(aliases)}")
        if not 0 <= port <= 65_535:  # noqa: PLR2004 - the range of a port
            raise ValueError(f"port is {port}; it takes 1 to 65535, or 0 for one that is free")
        if start_timeout <= 0:
            raise ValueError(f"start_timeout is {start_timeout:g}; it takes seconds, more than none")
        self._models = () if model is not None else (models or (RESILIENCE,))
        self._model = model
        self._load = load
        self._port = port
        self._start_timeout = start_timeout
        self._python = os.fspath(python)
        self._cache = None if cache is None else os.fspath(cache)
        self._on_progress = on_progress or _ignore
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._finalizer: weakref.finalize[..., LocalRuntime] | None = None

    def __repr__(self) -> str:
        names = [self._model] if self._model is not None else [each.alias for each in self._models]
        ready = self._process and self._process.ready
        return f"<LocalRuntime {', '.join(names)}: {ready.url if ready else 'not running'}>"

    @property
    def url(self) -> str:
        """Where it serves, such as "http://127.0.0.1:5273"; raises `RuntimeError` where it does not."""
        return self._serving().url

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """Alias and id of each model, in the order asked for; raises `RuntimeError` where it does not serve."""
        return self._serving().models

    @property
    def pid(self) -> int:
        """The id of its process; raises `RuntimeError` where there is none."""
        process = self._process
        if process is None:
            raise RuntimeError("this runtime is not running; enter it with `with`, or call start()")
        return process.pid

    def start(self) -> Self:
        """Serve. Returns when the runtime answers, and, with `load`, when its models are ready for a request.

        Raises `RuntimeStartError`, `MissingExtraError` where numpy or onnx is needed and not installed, and
        `RuntimeError` where it runs already.
        """
        process = self._begin()
        try:
            process.wait_until_ready(self._start_timeout, self._on_progress)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the process and wait until it has gone. It may be started again afterwards, on the same port or another.

        Takes some milliseconds, and at most about two seconds where the process does not react. More than once is fine.
        """
        with self._lock:
            process, self._process = self._process, None
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None:
            finalizer.detach()
        if process is not None:
            process.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        given_up = threading.Event()

        def start() -> None:
            self.start()
            if given_up.is_set():
                self.close()

        try:
            await anyio.to_thread.run_sync(start, abandon_on_cancel=True)
        except BaseException:
            given_up.set()
            await self._close_for_sure()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self._close_for_sure()

    async def _close_for_sure(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def _begin(self) -> Process:
        """The process, started, with its models on the disk."""
        with self._lock:
            if self._process is not None:
                raise RuntimeError(f"this runtime is running already, as process {self._process.pid}")
            directory = tempfile.mkdtemp(prefix="resilient-foundry-")
            try:
                for model in self._models:
                    if model.downloaded:
                        model.write(Path(directory, "cache", model.folder))
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            self._process = Process(self._python, self._settings(directory))
            self._finalizer = weakref.finalize(self, self._process.close)
            return self._process

    def _settings(self, directory: str) -> Settings:
        return {
            "directory": directory,
            "port": self._port,
            "load": self._load,
            "models": [self._model] if self._model is not None else [model.alias for model in self._models],
            "catalog": None if self._model is not None else catalog.answer(self._models),
            "cache": self._cache,
            "only_2x": list(MARKERS),
        }

    def _serving(self) -> Ready:
        process = self._process
        if process is None or process.ready is None:
            raise RuntimeError("this runtime is not running; enter it with `with`, or call start()")
        return process.ready
