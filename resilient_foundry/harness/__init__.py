"""What a server promises, and proof: contracts, recorded evidence, servers to prove it with, broken networks."""
