"""What a server promises, and proof: contracts, recorded evidence, servers to prove it with, broken networks."""

from resilient_foundry.harness.answer import Answer, BrokenError
from resilient_foundry.harness.contract import ALONE, MAY, MUST, OWN, SHOULD, Contract, Level, contract
from resilient_foundry.harness.grammar import CHAT, Grammar, chat_kind, named_kind
from resilient_foundry.harness.session import Session, Stream
from resilient_foundry.harness.shapes import each, one_of, optional

__all__ = [
    "ALONE",
    "CHAT",
    "MAY",
    "MUST",
    "OWN",
    "SHOULD",
    "Answer",
    "BrokenError",
    "Contract",
    "Grammar",
    "Level",
    "Session",
    "Stream",
    "chat_kind",
    "contract",
    "each",
    "named_kind",
    "one_of",
    "optional",
]
