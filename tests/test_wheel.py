"""What is installed, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from resilient_foundry.foundry.runtime import RESILIENCE, LocalRuntime

CHECKOUT = Path(__file__).resolve().parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def built(folder: Path) -> Path:
    """The wheel."""
    arguments = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(CHECKOUT)]
    subprocess.run([*PIP, *arguments], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment_with(wheel: Path) -> Path:
    """An environment that has it, and what the extra `contracts` asks for from this one; its folder of commands."""
    home = wheel.parent / "environment"
    venv.create(home)
    paths = sysconfig.get_paths("venv", {"base": str(home), "platbase": str(home)})
    Path(paths["purelib"], "beside.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run([*PIP, "--python", str(home), "install", "--no-index", f"{wheel}[contracts]"], check=True)
    return Path(paths["scripts"])


def said(outside: Path, *command: str | Path) -> str:
    """What a command says that ends well, in a folder that knows of no checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FOUNDRY_", "COV"))}
    done = subprocess.run(
        command, cwd=outside, env=kept | {"NO_COLOR": "1"}, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)
def test_what_is_installed_works_away_from_the_checkout(tmp_path: Path) -> None:
    """One test, since building and installing is what takes its time; no network is needed for it."""
    wheel = built(tmp_path)
    packed = set(zipfile.ZipFile(wheel).namelist())
    for home, folder, kind in (("", "contracts", "py"), ("", "cassettes", "yaml"), ("_bench/", "benchmarks", "*")):
        package = f"resilient_foundry/{home}"
        found = [file for file in CHECKOUT.glob(f"{folder}/**/*.{kind}") if file.suffix != ".pyc"]
        files = {f"{package}{file.relative_to(CHECKOUT)}" for file in found if file.is_file()}
        assert files
        assert {name for name in packed if name.startswith(f"{package}{folder}/")} == files

    commands, outside = environment_with(wheel), tmp_path / "outside"
    outside.mkdir()
    told = said(outside, commands / "resilient-foundry", "verify", "--tapes", "--only", "chat.")
    assert told.count("keeps every contract that it must") == 3

    told = said(outside, commands / "resilient-foundry", "bench", "work_of_a_stack", "--quick")
    assert "1 of 1 questions answered" in told

    pytest_ = (commands / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    with LocalRuntime(RESILIENCE) as runtime:
        assert " passed" in said(outside, *pytest_, "--foundry-url", runtime.url, "contracts/status.py")

    (outside / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert 'pytest_resilient_foundry' in sys.modules\n"
        "    assert 'resilient_foundry' not in sys.modules\n"
    )
    assert "1 passed" in said(outside, *pytest_)
