"""What a stranger installs: metadata, package data, pinned versions, the wheel."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tomllib
import zipfile
from importlib import metadata, resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bytegolf
from bytegolf.cli.app import main
from bytegolf.config.load import load_config, preset_names

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))


def test_the_console_script_is_the_tested_one_and_the_version_is_said_once() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="bytegolf")
    assert script.load() is main
    assert metadata.version("bytegolf") == PROJECT["version"] == bytegolf.__version__


def test_the_metadata_name_python_licence_and_an_open_torch() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert "torch>=2.9" in PROJECT["dependencies"]


def test_every_requirement_is_pinned_within_its_range() -> None:
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    own = [line for line in extras if line.startswith("bytegolf[")]  # a group made of other groups
    for requirement in map(Requirement, set(PROJECT["dependencies"] + extras) - set(own)):
        assert requirement.specifier.contains(PINS[requirement.name]), requirement


def test_the_presets_are_package_data() -> None:
    folder = resources.files("bytegolf") / "presets"
    assert {f"{name}.toml" for name in preset_names()} <= {entry.name for entry in folder.iterdir()}
    assert "pocket" in preset_names()
    for name in preset_names():
        assert load_config(name).name == name


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed, and fetching it needs a network")
    from hatchling.builders.wheel import WheelBuilder

    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
    package = {
        path.relative_to(ROOT / "src").as_posix()
        for pattern in ("*.py", "*.toml", "*.json", "*.j2", "*.js", "py.typed")
        for path in (ROOT / "src" / "bytegolf").rglob(pattern)
    }
    assert "bytegolf/presets/pocket.toml" in package
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == package
    assert any(name.endswith("licenses/LICENSE") for name in info)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "command"), [("demo", "-m bytegolf demo"), ("test", "-m pytest"), ("lint", "-m mypy")]
)
def test_make_installs_torch_first_and_for_the_demo_no_tools(target: str, command: str) -> None:
    plan = ["make", "--no-print-directory", "--dry-run", "VENV=nowhere", target]
    done = subprocess.run(plan, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert "torch==" in steps[0]
    assert [re.findall(r"\[(.*)\]", step) for step in steps[1:]] == [["baselines"]] + [["dev,baselines"]] * (
        target != "demo"
    )
    assert command in done.stdout.splitlines()[-1]
