"""`python -m resilient_foundry.cli`."""

from resilient_foundry.cli import main

main()
