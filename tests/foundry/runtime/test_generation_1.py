"""The runtime of the SDK's first generation, where the environment names an interpreter that has it."""

import os

import httpx
import psutil
import pytest

from resilient_foundry.foundry.runtime import BUILTIN_MODELS, SPLIT_UTF8, TWO_TOOL_CALLS, LocalRuntime

PYTHON = os.environ.get("RESILIENT_FOUNDRY_PYTHON_1X")

pytestmark = pytest.mark.skipif(PYTHON is None, reason="RESILIENT_FOUNDRY_PYTHON_1X names no interpreter")


def test_serves_the_same_models() -> None:
    """One set of models for both generations; the server is another one, and ends as surely."""
    assert PYTHON is not None
    with (
        LocalRuntime(*BUILTIN_MODELS, python=PYTHON) as runtime,
        httpx.Client(base_url=runtime.url, timeout=20, trust_env=False) as client,
    ):
        pid = runtime.pid
        assert "modelDirPath" in client.get("/status").json()
        for model in BUILTIN_MODELS:
            assert (model.id in client.get("/models/loaded").json()) == model.downloaded
        question = {"model": SPLIT_UTF8.id, "messages": [{"role": "user", "content": "Say something."}]}
        answer = client.post("/v1/chat/completions", json=question).json()
        assert answer["choices"][0]["message"]["content"] == SPLIT_UTF8.text
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        answer = client.post(
            "/v1/chat/completions", json=question | {"model": TWO_TOOL_CALLS.id, "tools": tools}
        ).json()
        assert len(answer["choices"][0]["message"]["tool_calls"]) == 2
    assert not psutil.pid_exists(pid)
