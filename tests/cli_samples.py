"""A small laboratory for the command line: text, a preset of 8,500 weights, and ways to call a command."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
from dataclasses import dataclass
from pathlib import Path

from bytegolf.cli.app import main

VOCAB = 300

# Everything that decides size and speed is set here: what `pocket` becomes is no business of these tests.
PRESET = f"""
extends = "pocket"
name = "tiny"

[model]
vocab_size = {VOCAB}
dim = 16
layers = 2
context = 32
embed = {{ mixers = [{{ kind = "smear_lerp" }}] }}
attention = {{ kind = "gqa", heads = 2, kv_heads = 1 }}
mlp = {{ kind = "relu2", hidden = 32 }}

[train]
steps = 30
rows = 2
precision = "fp32"

[pack]
budget = 100_000
codecs = {{ embed = "int8", table = "int8", matrix = "int6", head = "int8", gate = "fp16", scalar = "fp16" }}

[score]
context = 32
stride = 16
"""


@dataclass(frozen=True)
class Answer:
    """What a command left behind: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Lab:
    """Paths that the session's fixture filled; tests read them and write elsewhere."""

    root: Path
    source: Path
    preset: Path
    data: Path
    run: Path
    artifact: Path


def call(*words: object) -> Answer:
    """`bytegolf WORDS`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def listing(*folders: Path) -> dict[str, str]:
    """Every path below the folders, with the digest of each file."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }


def write_source(folder: Path, lines: int = 80) -> None:
    """60 documents of 4 kB (80 lines) over 400 made-up words, too random to be near duplicates of each other."""
    stream = random.Random(0)
    letters = "abcdefghijklmnoprstuvw"
    words = ["".join(stream.choices(letters, k=stream.randint(2, 8))) for _ in range(400)]
    folder.mkdir()
    for number in range(60):
        text = "\n".join(" ".join(stream.choices(words, k=8)) for _ in range(lines))
        (folder / f"document{number:02d}.txt").write_text(text, encoding="utf-8")


def build_lab(root: Path) -> tuple[Lab, dict[str, Answer]]:
    """The main job on the small text, with --json; the answers by command."""
    lab = Lab(
        root, root / "source", root / "tiny.toml", root / "data", root / "run", root / "run" / "model.golf"
    )
    write_source(lab.source)
    lab.preset.write_text(PRESET, encoding="utf-8")
    commands = {
        "data build": ("data", "build", "--source", lab.source, "--out", lab.data, "--vocab", VOCAB),
        "train": ("train", lab.preset, "--data", lab.data, "--out", lab.run),
        "pack": ("pack", lab.run, "--tensors"),
        "score": ("score", lab.artifact, "--data", lab.data),
        "generate": ("generate", lab.artifact, "--prompt", "ab ", "--tokens", 20),
    }
    answers = {name: call(*words, "--json") for name, words in commands.items()}
    failed = {name: answer for name, answer in answers.items() if answer.code != 0}
    assert not failed, failed
    return lab, answers
