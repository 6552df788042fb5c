"""The life of a runtime: how it starts, serves, fails to start, and ends."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import psutil
import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, THINKING, LocalRuntime

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="speaks of POSIX signals")


def get(url: str) -> httpx.Response:
    """An answer, past every proxy in the environment."""
    return httpx.get(url, trust_env=False, timeout=5)


def eventually(fact: Callable[[], bool], *, within: float = 10) -> bool:
    """Whether a fact comes true in time."""
    give_up = time.monotonic() + within
    while not fact():
        if time.monotonic() > give_up:
            return False
        threading.Event().wait(0.01)
    return True


def test_serves_until_the_end_of_the_block() -> None:
    """The process is there in the block, and is not there after it."""
    with LocalRuntime() as runtime:
        pid, url = runtime.pid, runtime.url
        assert get(f"{url}/status").json()["pid"] == pid
    assert not psutil.pid_exists(pid)
    with pytest.raises(httpx.ConnectError):
        get(f"{url}/status")


def test_is_loaded_when_it_serves() -> None:
    """A chat works at once."""
    with LocalRuntime(RESILIENCE, THINKING) as runtime:
        assert sorted(get(f"{runtime.url}/models/loaded").json()) == [RESILIENCE.id, THINKING.id]


def test_leaves_models_unloaded_when_asked_to() -> None:
    """For a client that loads what it needs."""
    with LocalRuntime(load=False) as runtime:
        assert get(f"{runtime.url}/models/loaded").json() == []
        assert get(f"{runtime.url}/models/load/{RESILIENCE.alias}").json() == {"status": "loaded"}


def test_says_what_it_serves(runtime: LocalRuntime) -> None:
    """Alias to load by, id to ask for."""
    assert runtime.models[0] == ("resilience", "resilience-generic-cpu:1")
    assert runtime.url in repr(runtime)


def test_keeps_its_files_and_those_of_the_engine_in_one_directory_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the home directory nor the one for temporary files shows that it was here."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HOME", str(tmp_path))
    with LocalRuntime():
        assert list(temporary.iterdir())
    assert list(tmp_path.rglob("*")) == [temporary]


def test_can_be_started_again_on_the_same_port() -> None:
    """A server that restarts is what a client has to survive; connections of the old one do not stand in the way."""
    with LocalRuntime() as runtime:
        port = urlsplit(runtime.url).port
        assert port is not None
        first = runtime.pid
        with httpx.Client(base_url=runtime.url, trust_env=False) as client:
            client.get("/status")
            runtime.close()
            with LocalRuntime(port=port) as again:
                assert (again.url, again.pid != first) == (f"http://127.0.0.1:{port}", True)
                assert get(f"{again.url}/status").status_code == httpx.codes.OK


def test_closing_twice_is_fine() -> None:
    """So that a block and a test may both do it."""
    runtime = LocalRuntime().start()
    runtime.close()
    runtime.close()


def test_starting_twice_is_refused() -> None:
    """One object, one process."""
    with LocalRuntime() as runtime, pytest.raises(RuntimeError, match="is running already"):
        runtime.start()


def test_says_that_it_is_not_running() -> None:
    """An address that nobody serves would only mislead."""
    with pytest.raises(RuntimeError, match="not running; enter it with"):
        _ = LocalRuntime().url
    with pytest.raises(RuntimeError, match="not running; enter it with"):
        _ = LocalRuntime().pid


def test_goes_when_nobody_holds_it_any_more() -> None:
    """Forgotten runtimes do not pile up."""
    runtime = LocalRuntime().start()
    pid = runtime.pid
    del runtime
    assert eventually(lambda: not psutil.pid_exists(pid))


@posix_only
def test_is_ended_although_it_does_not_react() -> None:
    """A process that is stopped hears no request to end."""
    with LocalRuntime() as runtime:
        pid = runtime.pid
        os.kill(pid, signal.SIGSTOP)
    assert not psutil.pid_exists(pid)


@posix_only
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_dies_with_its_parent(end: signal.Signals, tmp_path: Path) -> None:
    """However the parent ends, no runtime stays behind to hold memory and a port, and no files."""
    program = """
        import time
        from resilient_foundry.foundry.runtime import LocalRuntime
        runtime = LocalRuntime().start()
        print(runtime.pid, flush=True)
        time.sleep(60)
    """
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(end)
    assert eventually(lambda: not psutil.pid_exists(pid))
    assert eventually(lambda: not list(tmp_path.iterdir()))


@posix_only
def test_control_c_reaches_the_parent_only(runtime: LocalRuntime) -> None:
    """The terminal sends it to the whole group; a runtime that died of it would die before its parent has finished."""
    assert os.getsid(runtime.pid) != os.getsid(0)
    os.kill(runtime.pid, signal.SIGINT)
    assert get(f"{runtime.url}/status").status_code == httpx.codes.OK


@posix_only
def test_a_forked_copy_of_the_parent_leaves_it_alone() -> None:
    """What the copy drops is not its own: neither the process nor the files that it has yet to read."""
    with LocalRuntime(load=False) as runtime:
        copy = os.fork()
        if copy == 0:
            runtime.close()
            os._exit(0)
        assert os.waitpid(copy, 0)[1] == 0
        assert get(f"{runtime.url}/models/load/{RESILIENCE.alias}").json() == {"status": "loaded"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_serves_in_an_async_block(backend: str) -> None:
    """The same runtime, without blocking the loop while it starts."""

    async def serve() -> int:
        async with LocalRuntime() as runtime:
            async with httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client:
                assert (await client.get("/status")).json()["pid"] == runtime.pid
            return runtime.pid

    assert not psutil.pid_exists(anyio.run(serve, backend=backend))


def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Giving up during a long download must not leave a process that nobody knows of."""
    (tmp_path / "foundry_local_sdk.py").write_text("import threading; threading.Event().wait()")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def give_up() -> None:
        with anyio.move_on_after(0.5) as patience:
            async with LocalRuntime():
                pass
        assert patience.cancelled_caught

    before = time.monotonic()
    anyio.run(give_up)
    assert time.monotonic() - before < 10
    assert eventually(lambda: not list(temporary.iterdir()))
