"""MODULE:FACTORY and FILE.py:FACTORY: what is found, and what is said when it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bytegolf.errors import ConfigError
from bytegolf.verify.foreign import load_predictor, module_file, module_files, rebuild


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with modules in it; what they leave in this process goes with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "golf_plain.py").write_text("value = 3\ndef make():\n    return 'made'\n")
    (tmp_path / "golf_broken.py").write_text("import json\n\n\nx = 1 / 0\n")
    (tmp_path / "golf_typo.py").write_text("def make(:\n    pass\n")
    (tmp_path / "golf_package" / "inner").mkdir(parents=True)
    (tmp_path / "golf_package" / "__init__.py").write_text("raise RuntimeError('only looked for')\n")
    (tmp_path / "golf_package" / "inner" / "deep.py").write_text("make = dict\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("golf_", "predictor ")):
            del sys.modules[name]


@pytest.mark.parametrize("spec", ["golf_plain:make", "golf_plain.py:make", "./golf_plain.py:make"])
def test_a_module_of_the_current_directory_is_found_by_name_and_by_file(here: Path, spec: str) -> None:
    assert load_predictor(spec)() == "made"
    assert module_file(spec) == here / "golf_plain.py"


def test_a_folder_may_be_given_and_an_absolute_file_needs_none(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert load_predictor("golf_plain:make", [here])() == "made"
    assert load_predictor(f"{here}/golf_plain.py:make")() == "made"
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(here)])
    with pytest.raises(ConfigError, match="must be found"):
        module_file("golf_plain:make")


def test_the_files_of_packages_are_found_without_running_them(here: Path) -> None:
    files = module_files("golf_package.inner.deep:make")
    assert files == [here / "golf_package" / "__init__.py", here / "golf_package" / "inner" / "deep.py"]
    assert "golf_package" not in sys.modules


def test_a_file_may_have_the_name_of_a_module_that_is_loaded(here: Path) -> None:
    (here / "random.py").write_text("make = list\n")
    import random

    assert load_predictor("random.py:make") is list
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("golf_plain", "FACTORY"),
        (":make", "FACTORY"),
        ("golf_plain:", "FACTORY"),
        ("golf_nowhere:make", "no module golf_nowhere"),
        ("golf_plain.sub:make", "no module golf_plain.sub"),
        ("golf_nowhere.py:make", "no file"),
        ("golf_plain:nothing", "must define nothing"),
        ("golf_plain:value", "value = 3"),
        ("golf_broken:make", "golf_broken.py, line 4: x = 1 / 0"),
        ("golf_broken.py:make", "ZeroDivisionError: division by zero"),
        ("golf_typo:make", "golf_typo.py, line 1"),
        ("golf_package.inner.deep:make", "RuntimeError: only looked for"),
    ],
)
def test_what_is_wrong_is_said(here: Path, spec: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_predictor(spec)
    assert says in str(caught.value)


def test_another_process_in_another_folder_can_load_it(here: Path) -> None:
    assert rebuild("golf_plain:make") == {"kind": "predictor", "spec": "golf_plain:make", "path": [str(here)]}
    found = rebuild("golf_plain.py:make")
    assert found["spec"] == f"{here / 'golf_plain.py'}:make"
    assert found["path"] == [str(here)]
