"""Composable resilience transports for httpx and httpx2, and a client for Foundry Local."""
