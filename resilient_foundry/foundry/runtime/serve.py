"""The real Foundry Local, alone in a process: what `process.py` runs.

Settings come as one line of JSON on standard input; what happens is reported as lines of JSON on standard output. When
standard input ends, the parent has gone and this process goes too. The file is run by its path and imports nothing but
the standard library and the SDK, so that any interpreter that has either generation of the SDK can run it.
"""

import difflib
import http.server
import importlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypedDict


class Settings(TypedDict):
    """What the parent asks for."""

    directory: str  # of this process: cache, data, logs
    port: int  # 0 for one that is free
    load: bool
    models: list[str]  # the aliases to serve
    catalog: str | None  # what the catalogue of models answers; None for the real catalogue
    cache: str | None  # where downloaded models are kept; None for the SDK's own choice
    only_2x: list[str]  # keys in the configuration of a model that make the inference engine of 1.x refuse it


class StartError(Exception):
    """The runtime cannot serve. The message is one sentence for a person."""


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    report = _reporter()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    settings: Settings = json.loads(line)
    threading.Thread(target=_leave_with_the_parent, args=(settings["directory"],), daemon=True).start()
    try:
        ready = _serve(settings, lambda percent: report({"progress": percent}))
    except StartError as error:
        _leave_after(report, {"error": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises: its words reach the parent, and the process ends
        _leave_after(report, {"error": f"{type(error).__name__}: {error}"})
    report(ready)
    threading.Event().wait()


def _serve(settings: Settings, on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Start the web service and make the models ready; what the parent wants to know about it."""
    os.environ.setdefault("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")  # 1.x asks for libicu, which few machines have
    if settings["catalog"] is not None:
        # The engine leaves telemetry in the user's home and in the directory for temporary files: here both go later.
        home = Path(settings["directory"], "home")
        home.mkdir()
        os.environ.update(dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(home)))
    try:
        import foundry_local_sdk as sdk  # noqa: PLC0415 - this takes time, and its failure is to be reported
    except ImportError as error:
        raise StartError(
            f"the package 'foundry-local-sdk' cannot be imported by {sys.executable} ({error}); "
            "install it there with: python -m pip install 'resilient-foundry[foundry]'"
        ) from error

    sdk.FoundryLocalManager.initialize(_configuration(sdk, settings))
    # Any: the SDK is not installed where this library is checked without its extra, and differs between generations.
    manager: Any = sdk.FoundryLocalManager.instance
    served = [_model(manager, alias) for alias in settings["models"]]
    for model in served:
        if settings["catalog"] is None and not model.is_cached:
            _download(model, on_progress)
        if settings["load"] and model.is_cached:
            model.load()
    try:
        manager.start_web_service()
    except Exception as error:
        raise StartError(
            f"port {settings['port']} of 127.0.0.1 cannot be served on ({error}); "
            "name another one, or 0 for any that is free"
        ) from error
    return {"urls": list(manager.urls), "models": [(model.alias, model.id) for model in served]}


def _configuration(sdk: Any, settings: Settings) -> Any:
    """The configuration of whichever generation of the SDK is installed."""
    directory = Path(settings["directory"])
    generation_2 = hasattr(sdk, "LogLevel")
    if not generation_2:  # 1.x keeps it elsewhere
        sdk = importlib.import_module("foundry_local_sdk.configuration")
    common: dict[str, Any] = {
        "app_name": "resilient-foundry",
        "logs_dir": str(directory / "logs"),
        "log_level": sdk.LogLevel.WARNING,
        "web": sdk.Configuration.WebService(urls=f"http://127.0.0.1:{settings['port']}"),
    }
    if generation_2:
        common["disable_nonessential_telemetry"] = True
    if settings["cache"] is not None:
        common["model_cache_dir"] = settings["cache"]
    if settings["catalog"] is None:
        return sdk.Configuration(**common)

    common["app_data_dir"] = str(directory / "data")
    common["model_cache_dir"] = str(directory / "cache")
    url = _answer_as_the_catalog(settings["catalog"].encode())
    if generation_2:
        return sdk.Configuration(**common, catalog_urls=[(url, None)])
    _remove(settings["only_2x"], directory / "cache")
    additional = {"AzureCatalogUri": url, "AzureCatalogUrl": url, "DisableTelemetry": "true"}
    return sdk.Configuration(**common, additional_settings=additional)


def _model(manager: Any, alias: str) -> Any:
    """The model with this alias, as the SDK's object."""
    model = manager.catalog.get_model(alias)
    if model is not None:
        return model
    known: Sequence[str] = sorted(model.alias for model in manager.catalog.list_models())
    if known:
        near = difflib.get_close_matches(alias, known, n=5, cutoff=0.3) or known[:5]
        raise StartError(f"the catalogue of Foundry Local has no model {alias!r}; the nearest are {', '.join(near)}")
    raise StartError(
        f"the catalogue of Foundry Local cannot be reached, so {alias!r} can be neither found nor downloaded; "
        "check the network of this machine, or leave the model out to be served a built-in one"
    )


def _download(model: Any, on_progress: Callable[[float], None]) -> None:
    try:
        model.download(on_progress)
    except Exception as error:
        raise StartError(
            f"the model {model.alias!r} could not be downloaded ({error}); "
            "check the network and the space on the disk, and start again"
        ) from error


def _answer_as_the_catalog(body: bytes) -> str:
    """Stand in for the catalogue of models on a loopback port of its own, for as long as the process lives; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/asset-gallery/v1.0/models"  # 2.x insists on this path


def _remove(keys: Sequence[str], cache: Path) -> None:
    """Take keys out of the configuration of every model."""
    for path in cache.glob("**/genai_config.json"):
        configuration = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            configuration["model"].pop(key, None)
        path.write_text(json.dumps(configuration), encoding="utf-8")


def _reporter() -> Callable[[object], None]:
    """A way to the parent that nobody else writes to: from here on, whoever prints prints to standard error."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)

    def report(message: object) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    return report


def _leave_with_the_parent(directory: str) -> NoReturn:
    """End this process when nobody holds the other end of standard input any more, and leave nothing on the disk."""
    while sys.stdin.buffer.read(4096):
        pass
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def _leave_after(report: Callable[[object], None], message: object) -> NoReturn:
    """Say the last word and end, without the SDK's farewell, which can take for ever when its start has failed."""
    report(message)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
