"""Traces as values: read from wherever they are, compared with what is expected, drawn."""
