"""`resilient-foundry demo`: the real runtime, connections that break on purpose, and no chat lost."""

from resilient_foundry.cli.demo.perform import run

__all__ = ["run"]
