"""What a built-in model is before any runtime sees it."""

from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import (
    BUILTIN_MODELS,
    ENDLESS,
    RESILIENCE,
    BuiltinModel,
    Ending,
    octets,
    words,
)


@pytest.mark.parametrize("model", BUILTIN_MODELS, ids=lambda model: model.alias)
def test_is_a_few_kilobytes_on_the_disk(model: BuiltinModel, tmp_path: Path) -> None:
    """Nothing to download, nothing to keep."""
    model.write(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 64 * 1024


def test_is_written_the_same_every_time(tmp_path: Path) -> None:
    """Evidence that was recorded against it stays good."""
    for name in ("first", "second"):
        RESILIENCE.write(tmp_path / name)
    first, second = (
        {file.name: file.read_bytes() for file in sorted((tmp_path / n).iterdir())} for n in ("first", "second")
    )
    assert first == second


def test_its_id_is_alias_device_and_version() -> None:
    """As the real catalogue makes its names."""
    assert (RESILIENCE.alias, RESILIENCE.id) == ("resilience", "resilience-generic-cpu:1")


def test_words_keep_the_space_before_them() -> None:
    """Joined again they are the text."""
    assert words("to be,  or") == ("to", " be,", "  or")


def test_octets_cut_within_characters() -> None:
    """One byte a token is where a careless decoder breaks."""
    assert octets("é!") == (b"\xc3", b"\xa9", b"!")


def test_no_alias_is_the_beginning_of_another() -> None:
    """A client that resolves an alias by the beginning of ids finds one model."""
    others = [(one.alias, other.id) for one in BUILTIN_MODELS for other in BUILTIN_MODELS if one is not other]
    assert not [pair for pair in others if pair[1].startswith(f"{pair[0]}-")]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"alias": "Not a name"}, "alias is 'Not a name'"),
        ({"alias": "a", "script": ("word", "")}, "script has an empty piece"),
        ({"alias": "a", "ending": Ending.REPEAT}, "script is empty"),
        ({"alias": "a", "effort": -1}, "effort is -1"),
        ({"alias": "a", "script": ENDLESS.script, "context": 5}, "context is 5 tokens"),
    ],
)
def test_cannot_be_built_wrong(settings: dict[str, object], complaint: str) -> None:
    """The message names the field, what it got and what it takes."""
    with pytest.raises(ValueError, match=complaint):
        BuiltinModel(**settings)  # type: ignore[arg-type]  # wrong on purpose
