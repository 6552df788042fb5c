"""The command `resilient-foundry`. Its parts need the extra `cli`; a missing extra is one sentence, not a traceback."""

from __future__ import annotations

import sys

from resilient_foundry._extras import MissingExtraError, require


def main() -> None:
    """Run the command with the arguments of the process."""
    try:
        for package in ("typer", "rich"):
            require(package, extra="cli")
        from resilient_foundry.cli.app import run  # noqa: PLC0415 - it imports the extra
    except MissingExtraError as error:
        sys.exit(f"resilient-foundry: {error}")
    sys.exit(run())
