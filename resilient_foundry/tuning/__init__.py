"""How many connections a server is worth: load, what came of it, and what to set."""
