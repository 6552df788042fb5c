"""Arguments and environment variables."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_foundry.foundry import FoundryClient, Settings, SettingsError

SECRET = "s3cret-key"


def test_the_environment_is_read() -> None:
    """All six."""
    settings = Settings.read(
        {
            "FOUNDRY_MODEL": "phi-4-mini",
            "FOUNDRY_TIMEOUT": "2.5",
            "FOUNDRY_RETRIES": "0",
            "FOUNDRY_LOG_LEVEL": "debug",
            "FOUNDRY_API_KEY": SECRET,
            "FOUNDRY_LOCAL_ENDPOINT": " http://localhost:5273/v1/ ",
        }
    )
    assert settings == Settings(
        model="phi-4-mini",
        timeout=2.5,
        retries=0,
        log_level="DEBUG",
        api_key=SECRET,
        endpoint="http://localhost:5273",
    )


def test_arguments_win() -> None:
    """Also over a variable that has a good value."""
    settings = Settings.read({"FOUNDRY_TIMEOUT": "5", "FOUNDRY_MODEL": "a"}, timeout=1, model="b")
    assert (settings.timeout, settings.model) == (1.0, "b")


def test_an_empty_variable_is_not_set() -> None:
    """As `FOUNDRY_TIMEOUT= command` means it."""
    assert Settings.read({"FOUNDRY_TIMEOUT": "", "FOUNDRY_RETRIES": " "}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "accepts"),
    [
        ("FOUNDRY_TIMEOUT", "0", "a number of seconds greater than 0"),
        ("FOUNDRY_TIMEOUT", "soon", "a number of seconds greater than 0"),
        ("FOUNDRY_TIMEOUT", "inf", "a number of seconds greater than 0"),
        ("FOUNDRY_RETRIES", "-1", "a whole number from 0"),
        ("FOUNDRY_RETRIES", "2.5", "a whole number from 0"),
        ("FOUNDRY_LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("FOUNDRY_LOCAL_ENDPOINT", "localhost:5273", "no http:// or https:// URL such as http://127.0.0.1:5273"),
        ("FOUNDRY_LOCAL_ENDPOINT", "http://", "no http:// or https:// URL"),
        ("FOUNDRY_LOCAL_ENDPOINT", "http://a:70000", "no http:// or https:// URL"),
        ("FOUNDRY_LOCAL_ENDPOINT", "http://a b", "no http:// or https:// URL"),
    ],
)
def test_a_bad_variable_is_named_with_what_it_got_and_accepts(name: str, value: str, accepts: str) -> None:
    """The sentence is enough to mend it."""
    with pytest.raises(SettingsError) as caught:
        Settings.read({name: value})
    assert name in str(caught.value)
    assert value in str(caught.value)
    assert accepts in str(caught.value)
    assert caught.value.name == name


@pytest.mark.parametrize("key", ["two words", "größe", "a\nb"])
def test_a_bad_key_is_never_quoted(key: str) -> None:
    """It may be a good one with a typo."""
    with pytest.raises(SettingsError, match="FOUNDRY_API_KEY has a value that is no key") as caught:
        Settings.read({"FOUNDRY_API_KEY": key})
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": True},
        {"timeout": "x"},
        {"retries": 1.5},
        {"retries": True},
        {"model": ""},
        {"api_key": ""},
    ],
)
def test_a_bad_argument_is_named(settings: dict[str, Any]) -> None:
    """The same checks for both."""
    with pytest.raises(SettingsError) as caught:
        Settings.read({}, **settings)
    assert caught.value.name == next(iter(settings))


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    """URLs end up in logs."""
    with pytest.raises(SettingsError, match="holds a user name or password") as caught:
        Settings.read({}, endpoint="http://me:hunter2@localhost:5273")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:s3cret@host:99999",
        "http://u:s3cret@host",
        "http://u:p@s3cret@host:99999",
        "http://u:p/s3cret@host:1",
        "http://u:p?s3cret@host:1",
        "http://u:p#s3cret@host:1",
        "http://s3cret@[::1",
        "http://host:99999?key=s3cret",
        "http://host:1/?key=s3cret",
        "http://host:1/?key=a@s3cret",
        "http://host:1/#s3cret",
        "ftp://u:s3cret@host",
        "u:s3cret@host:1",
        "host:1?key=s3cret",
    ],
)
def test_a_url_is_quoted_without_what_may_be_secret(url: str) -> None:
    """No user name, password, query or fragment, whatever else is wrong with it."""
    with pytest.raises(SettingsError) as caught:
        FoundryClient(url)
    assert "s3cret" not in str(caught.value)


def test_a_url_with_a_query_is_quoted_as_far_as_it_helps() -> None:
    """Which of several it is can be seen."""
    with pytest.raises(SettingsError, match=r"base_url is 'http://host:1/v1…', and a base URL ends before"):
        FoundryClient("http://host:1/v1?key=1")


def test_the_key_is_in_no_representation() -> None:
    """Neither of the settings nor of a client."""
    assert SECRET not in repr(Settings(api_key=SECRET))
    with FoundryClient("http://localhost:1", api_key=SECRET) as client:
        assert SECRET not in repr(client)


@pytest.mark.parametrize("written", ["http://h:1", "http://h:1/", "http://h:1/v1", " http://h:1/v1/ "])
def test_a_base_url_comes_with_or_without_v1(written: str) -> None:
    """The seed of many a /v1/v1."""
    assert Settings.read({}, endpoint=written).endpoint == "http://h:1"
