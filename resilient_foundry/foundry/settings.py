"""What a client is told by its arguments and by the environment."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from resilient_foundry.foundry.errors import SettingsError

MODEL: Final = "FOUNDRY_MODEL"
TIMEOUT: Final = "FOUNDRY_TIMEOUT"
RETRIES: Final = "FOUNDRY_RETRIES"
LOG_LEVEL: Final = "FOUNDRY_LOG_LEVEL"
API_KEY: Final = "FOUNDRY_API_KEY"
ENDPOINT: Final = "FOUNDRY_LOCAL_ENDPOINT"

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_KEY = re.compile(r"[\x21-\x7e]+")
_AUTHORITY = re.compile(r"(?:[^/?#]*:)?//[^/?#]*")
_MAX_RETRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a client. `Settings.read` takes them from arguments, and where there are none from the environment.

    `timeout` (FOUNDRY_TIMEOUT) is in seconds and until the first byte of an answer; `retries` (FOUNDRY_RETRIES) is how
    often a call is tried again after its first attempt; `log_level` (FOUNDRY_LOG_LEVEL) is for the logger
    `resilient_foundry`; `api_key` (FOUNDRY_API_KEY) is sent as `Authorization: Bearer` and shown nowhere; `endpoint`
    (FOUNDRY_LOCAL_ENDPOINT) is the URL of the service, with or without /v1; `model` (FOUNDRY_MODEL) an alias or an id.
    An empty variable counts as not set.
    """

    model: str | None = None
    timeout: float | None = None
    retries: int | None = None
    log_level: str | None = None
    api_key: str | None = field(default=None, repr=False)
    endpoint: str | None = None

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        model: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        api_key: str | None = None,
        endpoint: str | None = None,
    ) -> Settings:
        """Arguments before variables; raises `SettingsError` that names the one with a bad value."""
        variables = os.environ if environ is None else environ

        def variable(name: str) -> str | None:
            return variables.get(name, "").strip() or None

        written_timeout, written_retries = variable(TIMEOUT), variable(RETRIES)
        return cls(
            model=_model("model", model) if model is not None else _model(MODEL, variable(MODEL)),
            timeout=_seconds("timeout", timeout) if timeout is not None else _seconds(TIMEOUT, written_timeout),
            retries=_count("retries", retries) if retries is not None else _count(RETRIES, written_retries),
            log_level=log_level(variable(LOG_LEVEL)),
            api_key=_key("api_key", api_key) if api_key is not None else _key(API_KEY, variable(API_KEY)),
            endpoint=url("base_url", endpoint) if endpoint is not None else _endpoint(variable(ENDPOINT)),
        )


def url(name: str, value: str) -> str:
    """The base URL of a service, without /v1 and without a slash at its end; `SettingsError` for what is none."""
    accepts = "such as http://127.0.0.1:5273"
    said = value.strip()
    try:
        parts = urlsplit(said)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if "@" in (_AUTHORITY.match(said) or [""])[0]:
        raise SettingsError(f"{name} holds a user name or password; use FOUNDRY_API_KEY, or api_key=", name=name)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_valid or re.search(r"\s", said):
        raise SettingsError(f"{name} is {redacted(said)!r}, which is no http:// or https:// URL {accepts}", name=name)
    if parts.query or parts.fragment:
        raise SettingsError(
            f"{name} is {redacted(said)!r}, and a base URL ends before '?' and '#', {accepts}", name=name
        )
    path = parts.path.rstrip("/")
    if path.endswith("/v1"):
        path = path.removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def log_level(value: str | None) -> str | None:
    """The name of a level of the logging module, written in any case; `SettingsError` for what is none."""
    if value is not None and value.upper() not in LOG_LEVELS:
        raise SettingsError(f"{LOG_LEVEL} is {value!r}; it accepts {', '.join(LOG_LEVELS)}", name=LOG_LEVEL)
    return value.upper() if value else None


def redacted(written: str) -> str:
    """A URL, or what was meant as one, without user name, password, query and fragment: fit to be shown."""
    shown = re.split(r"[?#]", written, maxsplit=1)[0]
    if "@" in written:  # a password may hold any character, so what stands around this one is anybody's guess
        scheme, found, _ = shown.partition("://")
        shown = f"{scheme}://" if found and "@" not in scheme else ""
    return shown if shown == written else f"{shown}…"


def _endpoint(value: str | None) -> str | None:
    return None if value is None else url(ENDPOINT, value)


def _model(name: str, value: str | None) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise SettingsError(f"{name} is {value!r}; it accepts the alias or the id of a model", name=name)
    return value


def _seconds(name: str, value: float | str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise SettingsError(f"{name} is {value!r}; it accepts a number of seconds greater than 0", name=name)
    return seconds


def _count(name: str, value: int | str | None) -> int | None:
    if value is None:
        return None
    number = -1
    if isinstance(value, str):
        number = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else -1
    elif isinstance(value, int) and not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        number = value
    if not 0 <= number <= _MAX_RETRIES:
        raise SettingsError(f"{name} is {value!r}; it accepts a whole number from 0 to {_MAX_RETRIES}", name=name)
    return number


def _key(name: str, value: str | None) -> str | None:
    """Never quoted, not even when it is wrong."""
    if value is not None and not (isinstance(value, str) and _KEY.fullmatch(value)):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise SettingsError(f"{name} has a value that is no key; it accepts visible ASCII without spaces", name=name)
    return value
