"""A process that calls when it is told to: `python process.py REDIS_URL`, then a URL a line; answers a line each."""

import logging
import sys

import httpx

from resilient_foundry import CircuitBreaker, CircuitOpenError, Stack, redis_storage


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    breaker = CircuitBreaker(failures=2, open_seconds=600, storage=redis_storage(sys.argv[1]))
    with httpx.Client(transport=Stack(breaker).over(httpx.HTTPTransport())) as client:
        print("ready", flush=True)  # noqa: T201 - it speaks by its output
        for line in sys.stdin:
            try:
                answer = str(client.get(line.strip()).status_code)
            except CircuitOpenError:
                answer = "refused"
            print(answer, flush=True)  # noqa: T201


main()
