"""A child process that serves, from its start to its certain end."""

import contextlib
import http.client
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlsplit

from resilient_foundry.foundry.runtime import serve

_PATIENCE: Final = 2.0  # seconds between asking the process to end and killing it; it has never needed a tenth of one
_LOG_BYTES: Final = 8192  # of its last words
_BETWEEN_LOOKS: Final = 0.01  # seconds between two questions whether it answers


class RuntimeStartError(RuntimeError):
    """Foundry Local could not be started. The message says in one sentence what was wrong and what to do.

    `log` holds the last lines that the process wrote, for whoever wants to know more.
    """

    def __init__(self, reason: str, *, log: str = "") -> None:
        self.log = log
        super().__init__(f"Foundry Local did not start: {reason}")
        if log:
            self.add_note(f"the last lines that it wrote:\n{log}")


class ServedModel(NamedTuple):
    """A model that the runtime serves: `alias` is what it is loaded by, `id` what a request asks for."""

    alias: str
    id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """What a runtime says when it serves."""

    url: str
    models: tuple[ServedModel, ...]


class Process:
    """One runtime in a process of its own. The directory named in the settings belongs to it and goes with it.

    `ready` is what it serves, once it does. Raises `RuntimeStartError` where the interpreter cannot be run.
    """

    ready: Ready | None = None

    def __init__(self, python: str, settings: serve.Settings) -> None:
        self._settings = settings
        self._owner = os.getpid()
        self._closing = threading.Lock()
        self._reports: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._log = bytearray()
        # -P: the folder of the file is not a place to import from.
        # A session of its own: Ctrl-C in a terminal is for the parent, which then ends the child.
        command = [python, "-P", serve.__file__]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the caller's interpreter and our own file
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(settings["directory"], ignore_errors=True)
            raise RuntimeStartError(
                f"{python} cannot be run ({error.strerror}); `python` takes the path of an interpreter"
            ) from error
        self._stdin, stdout, stderr = _pipes(self._process)
        self._report_reader = threading.Thread(target=self._read_reports, args=(stdout,), daemon=True)
        self._log_reader = threading.Thread(target=self._read_log, args=(stderr,), daemon=True)
        self._report_reader.start()
        self._log_reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_ready(self, timeout: float, on_progress: Callable[[float], None]) -> None:
        """Hand over the settings and wait until the runtime answers.

        `timeout` is in seconds and begins again with each report of progress, so that a long download may be long.
        Progress is told in per cent, in the calling thread. Raises `RuntimeStartError`.
        """
        with contextlib.suppress(OSError):  # it has ended already: the reports say so
            self._stdin.write(json.dumps(self._settings).encode() + b"\n")
            self._stdin.flush()
        ready = self._report(timeout, on_progress)
        url: str = ready["urls"][0].rstrip("/")
        self._wait_for_an_answer(url, timeout)
        self.ready = Ready(url, tuple(ServedModel(alias, model_id) for alias, model_id in ready["models"]))

    def close(self) -> None:
        """End the process, wait until it has gone, and remove its directory. Once is enough; more does no harm."""
        if os.getpid() != self._owner:
            return  # a copy of the parent, made by fork: the child is not its to end
        with self._closing:
            with contextlib.suppress(OSError):
                self._stdin.close()  # for 1.x, which survives the first SIGTERM
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._report_reader.join()
            self._log_reader.join()
            shutil.rmtree(self._settings["directory"], ignore_errors=True)

    def _report(self, timeout: float, on_progress: Callable[[float], None]) -> Mapping[str, Any]:
        """The report that the runtime serves."""
        while True:
            try:
                report = self._reports.get(timeout=timeout)
            except queue.Empty:
                raise self._failed(
                    f"nothing was heard of it for {timeout:g} seconds; give it more with `start_timeout`"
                ) from None
            if report is None:
                code = self._process.wait()
                self._log_reader.join()
                raise self._failed(f"its process ended with code {code} before it served")
            if "error" in report:
                raise self._failed(report["error"])
            if "progress" not in report:
                return report
            on_progress(report["progress"])

    def _wait_for_an_answer(self, url: str, timeout: float) -> None:
        address = urlsplit(url).netloc
        give_up = time.monotonic() + timeout
        while True:
            connection = http.client.HTTPConnection(address, timeout=max(give_up - time.monotonic(), _BETWEEN_LOOKS))
            try:
                connection.request("GET", "/status")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except (OSError, http.client.HTTPException) as error:
                if self._process.poll() is not None:
                    raise self._failed(f"its process ended with code {self._process.returncode}") from error
                if time.monotonic() > give_up:
                    raise self._failed(f"{url} did not answer for {timeout:g} seconds ({error})") from error
            finally:
                connection.close()
            time.sleep(_BETWEEN_LOOKS)

    def _failed(self, reason: str) -> RuntimeStartError:
        return RuntimeStartError(reason, log=self._log.decode(errors="replace").strip())

    def _read_reports(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._reports.put(json.loads(line))
        self._reports.put(None)

    def _read_log(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), _LOG_BYTES):
                self._log += chunk
                del self._log[:-_LOG_BYTES]


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Standard input, output and error of a process that has all three."""
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise ValueError("the process was started without pipes")
    return process.stdin, process.stdout, process.stderr
