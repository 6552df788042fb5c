"""The policies, one to a file; the pure machines that they use stand beside them."""
