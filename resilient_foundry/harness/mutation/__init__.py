"""Tapes made worse on purpose, and how a client must take them."""

from resilient_foundry.harness.mutation.mutations import MUTATIONS, Meaning, Mutation, mutated
from resilient_foundry.harness.mutation.reading import End, Reading, read

__all__ = ["MUTATIONS", "End", "Meaning", "Mutation", "Reading", "mutated", "read"]
