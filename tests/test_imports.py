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

EVERY_NAME = "from resilient_foundry.foundry import *"


def modules_after(statement: str) -> set[str]:
    """Every module that a fresh interpreter has loaded after this statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nothing_but_itself() -> None:
    """A name is imported when it is used, so whoever only mentions the package does not wait for what it stands on."""
    brought = modules_after("import httpx, resilient_foundry") - modules_after("import httpx")
    assert brought == {"resilient_foundry", "resilient_foundry._extras"}


def test_importing_every_public_name_imports_no_optional_package() -> None:
    """They cost time and memory, and may not be installed. What httpx brings by itself is httpx's own affair."""
    brought = modules_after(f"from resilient_foundry import *; {EVERY_NAME}") - modules_after("import httpx")
    assert brought & OPTIONAL == set()


def test_importing_every_public_name_imports_no_event_loop_library_but_anyio() -> None:
    assert "trio" not in modules_after(f"from resilient_foundry import *; {EVERY_NAME}")


def test_a_module_of_the_package_is_there_once_the_package_is() -> None:
    """Type checkers say so, because they see what is imported on first use."""
    statement = "import resilient_foundry; resilient_foundry.foundry.FoundryError; resilient_foundry.errors.StackError"
    assert "resilient_foundry.foundry.errors" in modules_after(statement)
