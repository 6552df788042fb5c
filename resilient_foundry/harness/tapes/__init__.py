"""Tapes: exchanges with a real server, as they were, kept in files that vcrpy can play as well."""

from resilient_foundry.harness.tapes.player import UnansweredError, player
from resilient_foundry.harness.tapes.recorder import Recorder
from resilient_foundry.harness.tapes.tape import Tape, TapeError

__all__ = ["Recorder", "Tape", "TapeError", "UnansweredError", "player"]
