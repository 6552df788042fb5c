"""Where the service is: what the caller says, what the environment says, what the `foundry` command says.

There is no fixed port in any generation, and ports are not scanned.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
import threading
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from resilient_foundry.foundry.errors import ServiceNotFoundError, SettingsError
from resilient_foundry.foundry.settings import ENDPOINT, url
from resilient_foundry.foundry.wire import items, mapping

COMMAND_SECONDS = 10.0
"""Seconds that each question to the `foundry` command may take; it starts a .NET program."""

_URL = re.compile(r"https?://[^\s/\"']+:\d+")
_WHERE = ("urls", "url", "service_uri", "endpoint")
"""Attributes that hold a URL: of the managers of foundry-local-sdk 1.x and 2.x, of `LocalRuntime`, and of 0.x."""


@runtime_checkable
class HasUrls(Protocol):
    """The manager of foundry-local-sdk 1.x and 2.x, once its web service is started."""

    @property
    def urls(self) -> object:
        """Base URLs, or None."""


@runtime_checkable
class HasUrl(Protocol):
    """What stands for one service, such as `LocalRuntime`."""

    @property
    def url(self) -> object:
        """The base URL."""


@runtime_checkable
class HasEndpoint(Protocol):
    """The manager of foundry-local-sdk 0.x."""

    @property
    def endpoint(self) -> object:
        """The base URL with /v1."""


Service = str | HasUrls | HasUrl | HasEndpoint
"""A URL, or an object that knows one."""


def url_of(service: Service) -> str:
    """The base URL that the argument names; `SettingsError` for what is none.

    `ServiceNotFoundError` for a manager whose web service was not started.
    """
    if isinstance(service, str):
        return url("base_url", service)
    for name in _WHERE:
        value: object = getattr(service, name, None)
        listed = items(value)
        value = listed[0] if listed else value
        if isinstance(value, str) and value:
            return url(f"{type(service).__name__}.{name}", value)
    if not any(hasattr(service, name) for name in _WHERE):
        raise TypeError(f"base_url is a URL or a manager of foundry-local-sdk, not {type(service).__name__}")
    raise ServiceNotFoundError(
        f"the {type(service).__name__} has no URL: its web service is not running, so call start_web_service() first"
    )


def is_here(url: str) -> bool:
    """Whether this is an address of this machine: `localhost`, or one that names it in every network."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


class Lookup(Protocol):
    """One question after the service's present address, which another thread may end while it is asked."""

    def ask(self) -> str:
        """The base URL; raises `ServiceNotFoundError`."""
        ...

    def end(self) -> None:
        """Ask no more."""
        ...


class Inspection:
    """The question to the object that the caller named, which knows the address of its service at any time."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def ask(self) -> str:
        """The base URL that it tells now; `ServiceNotFoundError` where it tells none, or fails."""
        try:
            return url_of(self._service)
        except ServiceNotFoundError:
            raise
        except Exception as error:
            raise ServiceNotFoundError(f"the {type(self._service).__name__} tells no URL: {error}") from error

    def end(self) -> None:
        """It answers at once."""


def ask_command(seconds: float = COMMAND_SECONDS) -> str:
    """The base URL that the `foundry` command tells; raises `ServiceNotFoundError` that says what to do."""
    return Inquiry(seconds).ask()


class Inquiry:
    """The question to the `foundry` command, which another thread may end while it is asked."""

    def __init__(self, seconds: float = COMMAND_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def ask(self) -> str:
        """The base URL that the command tells; raises `ServiceNotFoundError` that says what to do."""
        command = shutil.which("foundry")
        if command is None:
            raise ServiceNotFoundError(_what_to_do("there is no `foundry` command to ask"))
        told = _first_url(self._run([command, "server", "status", "-o", "json"]))
        if told is None:
            told = _first_match(self._run([command, "service", "status"]))
        if told is None:
            raise ServiceNotFoundError(_what_to_do("the `foundry` command knows of no running service"))
        try:
            told = url("the URL that the `foundry` command told", told)
        except SettingsError as error:
            raise ServiceNotFoundError(str(error)) from error
        if not is_here(told):
            raise ServiceNotFoundError(
                f"the `foundry` command tells of a service at {told}, which is not this machine; pass it as base_url= "
                "if requests are to go there"
            )
        return told

    def end(self) -> None:
        """End the command that runs, and begin no other."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def _run(self, arguments: list[str]) -> str:
        """What the command prints; nothing if it fails or takes too long. Both are an answer: it does not know."""
        try:
            with self._lock:
                if self._ended:
                    return ""
                self._process = process = subprocess.Popen(  # noqa: S603 - the user's own command, no shell
                    arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
        except OSError:
            return ""
        with process:
            try:
                printed, _ = process.communicate(timeout=self._seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                return ""
        return printed.decode("utf-8", "replace")


def _what_to_do(why: str) -> str:
    unset = "" if os.environ.get(ENDPOINT) else f"{ENDPOINT} is not set, and "
    return (
        f"no Foundry Local service was found: {unset}{why}; start the service "
        "(`foundry service start`, or start_web_service() of foundry-local-sdk), or pass base_url="
    )


def _first_url(printed: str) -> str | None:
    """The first of `webUrls` in the JSON object that stands somewhere after lines of noise."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", printed):
        try:
            value: object = decoder.raw_decode(printed, brace.start())[0]
        except (ValueError, RecursionError):
            continue
        urls = items((mapping(value) or {}).get("webUrls"))
        if urls:
            return next((one for one in urls if isinstance(one, str) and one), None)
    return None


def _first_match(printed: str) -> str | None:
    found = _URL.search(printed)
    return found[0] if found else None
