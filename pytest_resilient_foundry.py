"""`pytest --foundry-url URL`: contracts as tests. pytest imports this in every run, so it imports nothing by itself."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import pytest would pay for
if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say who is asked to keep the contracts; without any of the first three nothing happens."""
    group = parser.getgroup("foundry", "contracts of Foundry Local")
    group.addoption("--foundry-url", metavar="URL", help="Ask the service at this URL.")
    group.addoption("--foundry-runtime", metavar="VERSION", help="Start the real runtime of this version, and ask it.")
    group.addoption(
        "--foundry-tapes",
        metavar="DIR",
        nargs="?",
        const="",
        help="Ask tapes, offline: those that come with resilient-foundry, or those of this folder.",
    )
    group.addoption(
        "--foundry-contracts", metavar="DIR", help="Contracts of your own; else those that come with resilient-foundry."
    )
    group.addoption(
        "--foundry-may-change",
        action="store_true",
        help="Models may be loaded and unloaded on the service at the URL.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the contracts, where somebody is to be asked."""
    if any(config.getoption(f"foundry_{who}") is not None for who in ("url", "runtime", "tapes")):
        from resilient_foundry.harness.items import Contracts  # noqa: PLC0415 - costs what only this run should pay

        config.pluginmanager.register(Contracts(config), "foundry-contracts")
