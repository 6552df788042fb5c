"""What `import resilient_foundry` may cost."""

import json
import subprocess
import sys

OPTIONAL = {
    "foundry_local_sdk",
    "httpx2",
    "hypothesis",
    "matplotlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "openai",
    "opentelemetry.sdk",
    "psutil",
    "pytest",
    "redis",
    "rich",
    "typer",
    "vcr",
}


def modules_after(statement: str) -> set[str]:
    """Every module that a fresh interpreter has loaded after this statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_no_optional_one() -> None:
    """They cost time and memory, and may not be installed. What httpx brings by itself is httpx's own affair."""
    assert (modules_after("import resilient_foundry") - modules_after("import httpx")) & OPTIONAL == set()


def test_importing_the_package_imports_no_event_loop_library_but_anyio() -> None:
    assert "trio" not in modules_after("import resilient_foundry")
