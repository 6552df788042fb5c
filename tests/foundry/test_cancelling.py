"""What is cancelled leaves nothing behind."""

from __future__ import annotations

import anyio
import pytest

from resilient_foundry.foundry import ModelBusyError
from tests.foundry.conftest import AsyncConnect
from tests.foundry.servers import Two, delta, events

PHI = "phi-4-mini-instruct-cpu:1"

pytestmark = pytest.mark.anyio


async def test_a_cancelled_stream_gives_its_model_back(connect_async: AsyncConnect) -> None:
    """An unload need not wait for it."""
    server = Two(loaded=[PHI], chats=[events(delta("a"), delta("b", "stop"))])
    async with connect_async(server, aliases={"phi-4-mini": PHI}) as client:
        with anyio.CancelScope() as scope:
            async with client.stream_complete("hi", model=PHI) as stream:
                await anext(stream)
                scope.cancel()
                await anyio.sleep_forever()
        assert (await client.unload_model("phi-4-mini", wait=0.01)).state == "unloaded"


async def test_an_unload_waits_for_the_answers_of_other_tasks(connect_async: AsyncConnect) -> None:
    """And is cancelled without a trace while it waits."""
    server = Two(loaded=[PHI], chats=[events(delta("a"), delta("b", "stop"))])
    async with connect_async(server, aliases={"phi-4-mini": PHI}) as client:
        async with client.stream_complete("hi", model=PHI) as stream:
            await anext(stream)
            with pytest.raises(ModelBusyError, match="an answer of this client still ran on it"):
                await client.unload_model("phi-4-mini", wait=0.01)
            with anyio.move_on_after(0.01):
                await client.unload_model("phi-4-mini")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.unload_model, "phi-4-mini")
                await anyio.wait_all_tasks_blocked()
                assert "GET /models/unload/phi-4-mini" not in server.asked
                await stream.aclose()
        assert server.loaded == []
