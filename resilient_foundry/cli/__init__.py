"""The command `resilient-foundry`. Its parts need the extra `cli`; a missing extra is one sentence, not a traceback."""

from __future__ import annotations

import sys

from resilient_foundry._extras import MissingExtraError, require

INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended: 128 + SIGINT."""


def main() -> None:
    """Run the command with the arguments of the process."""
    try:
        for package in ("typer", "rich"):
            require(package, extra="cli")
        from resilient_foundry.cli.app import run  # noqa: PLC0415 - it imports the extra

        sys.exit(run())
    except MissingExtraError as error:
        sys.exit(f"resilient-foundry: {error}")
    except KeyboardInterrupt:  # before the command itself could take care of it
        sys.exit(INTERRUPTED)
